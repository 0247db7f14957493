"""SNOMED CT codes of ECG findings, as the PhysioNet challenges of 2020 and 2021 use them, to types.

The convention is PTB-XL's, because the model learned it (`model.datasets.ptbxl`): ST and T changes
and ischaemia are STTC, necrosis and acute infarction MI, atrial enlargement HYP, pre-excitation CD,
1st degree AV block CD but not ARR, AV blocks that drop beats both, sinus arrhythmia not ARR. Where
PTB-XL keeps a remark out of the types (low voltage, Q waves, voltage criteria, long PR) or knows no
such remark, the code is no type, and the types it borders on are unsure.

Codes that the challenges score as the same diagnosis are in the same class here: 713427006 and
59118001 (complete right bundle branch block), 733534002 and 164909002 (left), 284470004 and
63593006 (supraventricular premature beats), 427172004 and 17338001 (ventricular).

Pacing makes every type unsure: what lies under it cannot be read from the ECG.
"""

from model.datasets.cases import UNHEARD_OF, Finding
from model.findings import ABNORMALITY_TYPES

_ALL = " ".join(ABNORMALITY_TYPES)

# Fits a normal ECG. The challenges give sinus rhythm alone to ECGs that are otherwise normal.
_NORMAL = {
    426783006: "sinus rhythm",
}

# Types -> codes.
_HAS = {
    "MI": {
        54329005: "anterior myocardial infarction",
        57054005: "acute myocardial infarction",
        164865005: "myocardial infarction",
        164867002: "old myocardial infarction",
    },
    "STTC": {
        55930002: "ST changes",
        59931005: "T wave inversion",
        111975006: "prolonged QT interval",
        164861001: "myocardial ischaemia",
        164930006: "ST interval abnormal",
        164934002: "T wave abnormal",
        413444003: "acute myocardial ischaemia",
        413844008: "chronic myocardial ischaemia",
        425419005: "inferior ischaemia",
        425623009: "lateral ischaemia",
        426434006: "anterior ischaemia",
        428750005: "nonspecific ST-T abnormality",
        429622005: "ST depression",
        704997005: "inferior ST depression",
    },
    "CD": {
        6374002: "bundle branch block",
        59118001: "right bundle branch block",
        74390002: "Wolff-Parkinson-White pattern",
        82226007: "diffuse intraventricular block",
        164909002: "left bundle branch block",
        195060002: "ventricular pre-excitation",
        251120003: "incomplete left bundle branch block",
        270492004: "1st degree AV block",
        445118002: "left anterior fascicular block",
        445211001: "left posterior fascicular block",
        698252002: "nonspecific intraventricular conduction disorder",
        713426002: "incomplete right bundle branch block",
        713427006: "complete right bundle branch block",
        733534002: "complete left bundle branch block",
    },
    "CD ARR": {
        27885002: "complete heart block",
        28189009: "2nd degree AV block, type 2",
        54016002: "Mobitz type I AV block",
        164903001: "2:1 AV block",
        195042002: "2nd degree AV block",
        426183003: "Mobitz type II AV block",
    },
    "HYP": {
        89792004: "right ventricular hypertrophy",
        164873001: "left ventricular hypertrophy",
        195126007: "atrial hypertrophy",
        253339007: "right atrial abnormality",
        253352002: "left atrial abnormality",
        266249003: "ventricular hypertrophy",
        446358003: "right atrial hypertrophy",
        446813000: "left atrial hypertrophy",
        67741000119109: "left atrial enlargement",
    },
    "ARR": {
        5609005: "sinus arrest",
        11157007: "ventricular bigeminy",
        13640000: "fusion beats",
        17338001: "ventricular premature beats",
        17366009: "wandering between sinus node and atrium",
        29320008: "AV junctional rhythm",
        49260003: "idioventricular rhythm",
        60423000: "sinus node dysfunction",
        61277005: "accelerated idioventricular rhythm",
        63593006: "supraventricular premature beats",
        67198005: "paroxysmal supraventricular tachycardia",
        74615001: "brady-tachy syndrome",
        75532003: "ventricular escape beat",
        81898007: "ventricular escape rhythm",
        106068003: "atrial rhythm",
        111288001: "ventricular flutter",
        164884008: "ventricular ectopics",
        164889003: "atrial fibrillation",
        164890007: "atrial flutter",
        164895002: "ventricular tachycardia",
        164896001: "ventricular fibrillation",
        195080001: "atrial fibrillation and flutter",
        195101003: "wandering atrial pacemaker",
        233892002: "accelerated atrial escape rhythm",
        233896004: "AV node reentry tachycardia",
        233897008: "AV reentrant tachycardia",
        251164006: "junctional premature complex",
        251166008: "AV nodal reentrant tachycardia",
        251168009: "supraventricular bigeminy",
        251170000: "blocked premature atrial contraction",
        251173003: "atrial bigeminy",
        251180001: "ventricular trigeminy",
        251182009: "paired ventricular premature complexes",
        251187003: "atrial escape beat",
        282825002: "paroxysmal atrial fibrillation",
        284470004: "premature atrial contraction",
        314208002: "rapid atrial fibrillation",
        425856008: "paroxysmal ventricular tachycardia",
        426177001: "sinus bradycardia",
        426627000: "bradycardia",
        426648003: "junctional tachycardia",
        426664006: "accelerated junctional rhythm",
        426749004: "chronic atrial fibrillation",
        426761007: "supraventricular tachycardia",
        426995002: "junctional escape",
        427084000: "sinus tachycardia",
        427172004: "premature ventricular contractions",
        698247007: "cardiac dysrhythmia",
        713422000: "atrial tachycardia",
        713423005: "multifocal atrial tachycardia",
    },
}

# (Types, unsure) -> codes.
_BORDERS = {
    ("STTC", "MI"): {164931005: "ST elevation"},
    ("STTC", "HYP"): {370365005: "left ventricular strain"},
    ("ARR", "CD"): {50799005: "AV dissociation", 65778007: "sinoatrial block"},
    ("CD", "ARR"): {
        204384007: "congenital incomplete heart block",
        233917008: "AV block, degree unknown",
    },
    ("", "CD"): {39732003: "left axis deviation", 164947007: "prolonged PR interval"},
    ("", "CD HYP"): {
        47665007: "right axis deviation",
        251200008: "indeterminate axis",
        251205003: "prolonged P wave",
    },
    ("", "CD MI"): {164942001: "fragmented QRS"},
    ("", "CD STTC"): {418818005: "Brugada pattern"},
    ("", "CD HYP MI"): {
        61721007: "rotated vectorcardiographic loop",
        164921003: "R wave abnormal",
        164951009: "abnormal QRS",
        251198002: "clockwise rotation",
        251199005: "counterclockwise rotation",
        365413008: "poor R wave progression",
    },
    ("", "MI"): {164917005: "Q wave abnormal"},
    ("", "MI STTC"): {53741008: "coronary heart disease"},
    ("", "HYP"): {
        55827005: "left ventricular high voltage",
        164912004: "P wave change",
        251223006: "tall P wave",
        368009: "heart valve disorder",
        67751000119106: "right atrial high voltage",
    },
    ("", "STTC"): {
        77867006: "short QT interval",
        164937009: "U wave abnormal",
        251242005: "tall U wave",
        251259000: "high T voltage",
        428417006: "early repolarisation",
    },
    ("", "MI STTC CD HYP"): {84114007: "heart failure"},
    ("", "ARR"): {49578007: "short PR interval"},
    ("", _ALL): {
        10370003: "pacing rhythm",
        251139008: "arm leads perhaps reversed",
        251266004: "ventricular pacing",
        251268003: "atrial pacing",
    },
    # No type of PTB-XL's, and none that they border on.
    ("", ""): {
        251146004: "low QRS voltages",
        251147008: "low QRS voltages in limb leads",
        251148003: "low QRS voltages in chest leads",
        266257000: "transient ischaemic attack (of the brain)",
        427393009: "sinus arrhythmia",
    },
}


_GROUPS = (_NORMAL, *_HAS.values(), *_BORDERS.values())
_NAMES = {code: name for codes in _GROUPS for code, name in codes.items()}


def _findings() -> dict[int, Finding]:
    found = {code: Finding(normal=True) for code in _NORMAL}
    for types, codes in _HAS.items():
        found |= dict.fromkeys(codes, Finding(frozenset(types.split())))
    for (types, unsure), codes in _BORDERS.items():
        found |= dict.fromkeys(codes, Finding(frozenset(types.split()), frozenset(unsure.split())))
    return found


FINDINGS = _findings()


def finding_of(code: str) -> Finding:
    """What a code says; one that is not in the table leaves every other type unsure."""
    return FINDINGS.get(int(code), UNHEARD_OF) if code.isascii() and code.isdigit() else UNHEARD_OF


def is_known(code: str) -> bool:
    """Whether the table has the code."""
    return code.isascii() and code.isdigit() and int(code) in FINDINGS


def name_of(code: str) -> str:
    """What a code that is in the table means."""
    return _NAMES[int(code)]
