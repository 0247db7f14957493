import csv
from pathlib import Path

import pytest

from model.datasets.snomed import FINDINGS, finding_of, is_known, name_of

TABLES = Path(__file__).parents[4] / "shared" / "messages" / "terminology"
SAME = [
    (713427006, 59118001),
    (733534002, 164909002),
    (284470004, 63593006),
    (427172004, 17338001),
]


@pytest.mark.parametrize("year", ["cinc2020", "cinc2021"])
def test_every_code_of_the_challenges_has_its_place(year):
    tables = sorted((TABLES / year).glob("dx_mapping_*.csv"))
    if not tables:
        pytest.skip("the challenges' tables are not in ../shared/messages/terminology")
    rows = [row for table in tables for row in csv.reader(table.read_text("latin-1").splitlines())]
    codes = {int(row[1]) for row in rows if row[1].strip().isdigit()}
    assert len(codes) > 100
    assert codes <= set(FINDINGS)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_codes_that_are_scored_as_the_same_diagnosis_are_of_the_same_class(one, other):
    assert FINDINGS[one] == FINDINGS[other]


@pytest.mark.parametrize(
    ("code", "types", "unsure"),
    [
        ("426783006", set(), set()),
        ("270492004", {"CD"}, set()),
        ("27885002", {"CD", "ARR"}, set()),
        ("164873001", {"HYP"}, set()),
        ("164931005", {"STTC"}, {"MI"}),
        ("39732003", set(), {"CD"}),
        ("427393009", set(), set()),
        # Chapman-Shaoxing's and Ningbo's own, as they are published beside the challenges.
        ("28189009", {"CD", "ARR"}, set()),
        ("164903001", {"CD", "ARR"}, set()),
        ("233896004", {"ARR"}, set()),
        ("713423005", {"ARR"}, set()),
        ("251147008", set(), set()),
        ("251148003", set(), set()),
        ("251242005", set(), {"STTC"}),
        ("10370003", set(), {"MI", "STTC", "CD", "HYP", "ARR"}),
        ("111111111", set(), {"MI", "STTC", "CD", "HYP", "ARR"}),
        ("Unknown", set(), {"MI", "STTC", "CD", "HYP", "ARR"}),
    ],
)
def test_the_convention_is_that_of_the_model(code, types, unsure):
    finding = finding_of(code)
    assert (finding.types, finding.unsure) == (types, unsure)


def test_only_sinus_rhythm_speaks_for_a_normal_ecg():
    assert [code for code, finding in FINDINGS.items() if finding.normal] == [426783006]


def test_a_code_has_a_name():
    assert name_of("164889003") == "atrial fibrillation"


def test_what_is_in_no_table_is_said_to_be():
    assert is_known("164889003")
    assert not is_known("111111111")
    assert not is_known("\u0661")
