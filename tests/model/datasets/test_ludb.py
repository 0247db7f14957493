import pytest

from integration.formats import read_ecg
from model.datasets import ludb
from model.datasets.cases import NO, UNKNOWN, YES
from model.datasets.ptbxl import TYPES
from model.errors import DatasetError
from tests.wfdb_folder import write_ludb

EXPECTED = [
    {"NORM": YES},
    {"NORM": UNKNOWN, "ARR": YES},
    {"HYP": YES, "STTC": UNKNOWN, "CD": UNKNOWN},
    {"MI": YES, "STTC": UNKNOWN},
]


@pytest.mark.parametrize("words", ["headers", "table"])
def test_words_become_types_wherever_they_stand(tmp_path, words):
    found = ludb.cases(write_ludb(tmp_path, words=words), read_ecg)
    for row, expected in zip(found.types, EXPECTED, strict=True):
        told = dict(zip(TYPES, row.tolist(), strict=True))
        assert told == {**dict.fromkeys(TYPES, NO), **expected}
    assert found.normal.tolist() == [YES, NO, NO, NO]
    assert found.record.tolist() == [f"data/{n}" for n in range(1, 5)]
    assert set(found.groups["sex"]) == {"female" if words == "headers" else "male"}
    assert set(found.age) == {51.0 if words == "headers" else 64.0}
    assert found.patients_known
    assert not found.remarks
    assert found.ecg(0).sampling_rate_hz == 500.0


@pytest.mark.parametrize(
    ("remark", "types", "unsure"),
    [
        ("Rhythm: Atrial fibrillation.", {"ARR"}, set()),
        ("Rhythm: Atrial flutter, typical.", {"ARR"}, set()),
        ("Rhythm: Irregular sinus rhythm.", set(), set()),
        ("Electric axis of the heart: right axis deviation.", set(), {"CD", "HYP"}),
        ("Sinoatrial blockade, undetermined.", {"ARR"}, {"CD"}),
        ("I degree AV block.", {"CD"}, set()),
        ("III degree AV-block.", {"CD", "ARR"}, set()),
        ("Left anterior hemiblock.", {"CD"}, set()),
        ("Non-specific intravintricular conduction delay.", {"CD"}, set()),
        ("Atrial extrasystole: low atrial.", {"ARR"}, set()),
        ("Ventricular extrasystole, type: single PVC.", {"ARR"}, set()),
        ("Left atrial overload.", {"HYP"}, set()),
        ("Left ventricular overload.", set(), {"HYP", "STTC"}),
        ("STEMI: anterior wall.", {"MI"}, {"STTC"}),
        ("Undefined ischemia/scar/supp.NSTEMI: lateral wall.", {"STTC"}, {"MI"}),
        ("Scar formation: septal.", {"MI"}, {"STTC"}),
        ("Ischemia: lateral wall.", {"STTC"}, set()),
        ("Non-specific repolarization abnormalities: anterior wall.", {"STTC"}, set()),
        ("Early repolarization syndrome.", set(), {"STTC"}),
        ("UNIpolar ventricular pacing.", set(), {"MI", "STTC", "CD", "HYP", "ARR"}),
    ],
)
def test_words(remark, types, unsure):
    finding = ludb.finding_of(remark)
    assert (finding.types, finding.unsure, finding.normal) == (types, unsure, False)


@pytest.mark.parametrize(
    "remark",
    ["Rhythm: Sinus rhythm.", "Rhythms: Sinus rhythm", "Electric axis of the heart: vertical."],
)
def test_words_that_fit_a_normal_ecg(remark):
    assert ludb.finding_of(remark).normal


def test_words_that_nobody_knows_leave_all_unsure_and_are_told(tmp_path):
    folder = write_ludb(tmp_path, 1)
    header = folder / "data" / "1.hea"
    header.write_text(header.read_text() + "\n#Dextrocardia.")
    found = ludb.cases(folder, read_ecg)
    assert set(found.types[0]) == {UNKNOWN}
    assert "'Dextrocardia.' is not understood: 1 ECGs" in found.remarks[0]


def test_a_record_without_words_is_left_out(tmp_path):
    folder = write_ludb(tmp_path, 2)
    header = folder / "data" / "2.hea"
    header.write_text("\n".join(line for line in header.read_text().splitlines() if line[0] != "#"))
    found = ludb.cases(folder, read_ecg)
    assert (len(found), found.left_out) == (1, {"labels-missing": 1})
    header.with_name("1.hea").unlink()
    with pytest.raises(DatasetError, match="labels-missing"):
        ludb.cases(folder, read_ecg)


def test_the_table_is_found_from_the_folder_with_the_recordings(tmp_path):
    folder = write_ludb(tmp_path, words="table")
    assert ludb.table_of(folder / "data") == folder / "ludb.csv"
    assert len(ludb.cases(folder / "data", read_ecg)) == 4
