"""Code systems, codes and namespaces of the report, and the small builders around them.

SNOMED codes are those of PhysioNet/CinC 2021 (dx_mapping_scored.csv, dx_mapping_unscored.csv); the
SNOMED browser's own wording is left out, so that no release of it contradicts us.
"""

from typing import Any
from uuid import NAMESPACE_OID, uuid5

from model.ecg import LEADS_12
from model.findings import ABNORMALITY_TYPES, RHYTHM_NAMES, TYPE_NAMES

Json = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
MDC = "urn:iso:std:iso:11073:10101"
_HL7 = "http://terminology.hl7.org/CodeSystem"
AI_DEVICE_TYPES = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS"

# Ours. Values under ID are `<exam id>` and `<exam id>-<slug>`; under MODEL the bundle's SHA-256.
ID = "urn:hisbundle:id"
MODEL = "urn:hisbundle:model"
NAMESPACE = uuid5(NAMESPACE_OID, ID)
MESSAGE = "urn:hisbundle:message"
OBSERVATION = "urn:hisbundle:observation"
RHYTHMS = "urn:hisbundle:rhythm"
DECISIONS = "urn:hisbundle:decision"
QUALITY = "urn:hisbundle:signal-quality"
QUALITY_REASON = "urn:hisbundle:signal-quality-reason"

INLINE_LABEL = (
    "http://hl7.org/fhir/uv/security-label-ds4p/StructureDefinition/extension-inline-sec-label"
)
DATA_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
AI_KIND = "http://hl7.org/fhir/uv/aitransparency/StructureDefinition/aitransparency.AIKind"


def coding(system: str, code: str, display: str | None = None) -> Json:
    """Return a Coding."""
    return {"system": system, "code": code} | ({"display": display} if display else {})


def concept(*codings: Json, text: str | None = None) -> Json:
    """Return a CodeableConcept."""
    return {"coding": list(codings)} | ({"text": text} if text else {})


# DiagnosticReport (US Core DiagnosticReport Note: category slice LP29708-2; v2 table 0074)
CARDIOLOGY = concept(coding(LOINC, "LP29708-2", "Cardiology"))
ELECTROCARDIAC = concept(coding(f"{_HL7}/v2-0074", "EC"))
EKG_STUDY = concept(coding(LOINC, "11524-6", "EKG study"))
PROCEDURE = concept(coding(f"{_HL7}/observation-category", "procedure", "Procedure"))
VITAL_SIGNS = concept(coding(f"{_HL7}/observation-category", "vital-signs", "Vital Signs"))
ALERT = concept(coding(f"{_HL7}/communication-category", "alert", "Alert"))
PLACER = concept(coding(f"{_HL7}/v2-0203", "PLAC", "Placer Identifier"))
FILLER = concept(coding(f"{_HL7}/v2-0203", "FILL", "Filler Identifier"))

# AI labels (AI Transparency on FHIR; DS4P inline security labels)
AI_ASSERTED = coding(f"{_HL7}/v3-ObservationValue", "AIAST", "Artificial Intelligence asserted")
HAS_INLINE_LABELS = coding(f"{_HL7}/v3-ActCode", "PROCESSINLINELABEL")
ARTIFICIAL_INTELLIGENCE = concept(coding(AI_DEVICE_TYPES, "Artificial-Intelligence"))
DEEP_LEARNING = concept(coding(AI_DEVICE_TYPES, "Deep-Learning-Models"))
AUTHOR = concept(coding(f"{_HL7}/provenance-participant-type", "author", "Author"))
VERIFIER = concept(coding(f"{_HL7}/provenance-participant-type", "verifier", "Verifier"))

# "Presence / absence ... based on the established threshold of the performed test": neither says
# normal (v3-ObservationInterpretation).
POSITIVE = concept(coding(f"{_HL7}/v3-ObservationInterpretation", "POS", "Positive"))
NEGATIVE = concept(coding(f"{_HL7}/v3-ObservationInterpretation", "NEG", "Negative"))
NOT_PERFORMED = concept(coding(f"{_HL7}/data-absent-reason", "not-performed", "Not Performed"))

ANOMALY_SCORE = concept(coding(OBSERVATION, "anomaly-score", "Anomaly score"))
SIGNAL_QUALITY = concept(coding(OBSERVATION, "signal-quality", "ECG signal quality"))
WHOLE_ECG = concept(coding(OBSERVATION, "reason", "Why the ECG as a whole cannot be analysed"))
PROBABILITY = {
    code: concept(
        coding(OBSERVATION, f"probability-{code.lower()}", f"Probability of {TYPE_NAMES[code]}")
    )
    for code in ABNORMALITY_TYPES
}

ABNORMAL_ECG = coding(SNOMED, "102594003")
# A type gets a code of its own only where the code says no more than the type does. Conduction
# disturbance and hypertrophy have none in the table: its codes name one block, or the ventricles.
TYPE_FINDING = {
    "MI": coding(SNOMED, "164865005"),
    "STTC": coding(SNOMED, "428750005"),
    "ARR": coding(SNOMED, "698247007"),
}

# Rhythm and beats (LOINC 8867-4, 8884-9; AAMI classes as in ANSI/AAMI EC57, table 3). Here too a
# SNOMED code stands only where it says no more than was found: "AF" may be flutter, so it has none.
HEART_RATE = concept(coding(LOINC, "8867-4", "Heart rate"))
RHYTHM = concept(coding(LOINC, "8884-9", "Heart rate rhythm"))
BEATS = concept(coding(OBSERVATION, "beats", "Beats, counted by class"))
RHYTHM_SNOMED = {"bradycardia": coding(SNOMED, "426627000")}
RHYTHM_FINDING = {
    code: concept(coding(RHYTHMS, code, name), text=name) for code, name in RHYTHM_NAMES.items()
}
_BEAT_NAMES = {
    "N": "Beats of sinus or bundle branch block shape",
    "S": "Supraventricular ectopic beats",
    "V": "Ventricular ectopic beats",
    "F": "Fusion beats",
    "Q": "Paced or unclassifiable beats",
}
BEAT_CLASS = {
    code: concept(coding(OBSERVATION, f"beats-{code}", name), text=name)
    for code, name in _BEAT_NAMES.items()
}

# MDC_ECG_LEAD_<name> = 131072 + n (ISO/IEEE 11073-10102)
_LEAD_NUMBERS = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)
LEAD = {
    name: concept(coding(MDC, str(131072 + n), f"MDC_ECG_LEAD_{name}"), text=f"Lead {name}")
    for name, n in zip(LEADS_12, _LEAD_NUMBERS, strict=True)
}


def interval_in(lead: str) -> Json:
    """Return the code of a stretch of one lead that speaks for a finding."""
    return concept(coding(OBSERVATION, f"interval-{lead}", f"Attended stretch of lead {lead}"))
