import numpy as np
import pytest

from model.datasets import cases
from model.datasets.cases import NO, UNKNOWN, YES, Finding
from model.datasets.ptbxl import TYPES, load
from model.datasets.ptbxl_cases import from_arrays
from tests.ptbxl_folder import write_ptbxl

NORMAL = Finding(normal=True)
MI = Finding(frozenset({"MI"}), frozenset({"STTC"}))
STTC = Finding(frozenset({"STTC"}))
ARR = Finding(frozenset({"ARR"}))
AXIS = Finding(unsure=frozenset({"CD"}))


@pytest.mark.parametrize(
    ("findings", "expected", "normal"),
    [
        ([NORMAL], {"NORM": YES}, YES),
        ([NORMAL, MI], {"MI": YES, "STTC": UNKNOWN}, NO),
        ([NORMAL, ARR], {"NORM": UNKNOWN, "ARR": YES}, NO),
        ([ARR, STTC], {"STTC": YES, "ARR": YES}, NO),
        ([MI, STTC], {"MI": YES, "STTC": YES}, NO),
        ([NORMAL, AXIS], {"NORM": UNKNOWN, "CD": UNKNOWN}, UNKNOWN),
        ([NORMAL, Finding()], {"NORM": UNKNOWN}, UNKNOWN),
        (
            [STTC, cases.UNHEARD_OF],
            {"STTC": YES, **dict.fromkeys(("MI", "CD", "HYP", "ARR"), UNKNOWN)},
            NO,
        ),
    ],
)
def test_remarks_become_labels(findings, expected, normal):
    row, found = cases.labels(findings)
    assert dict(zip(TYPES, row.tolist(), strict=True)) == {**dict.fromkeys(TYPES, NO), **expected}
    assert found == normal


def test_a_source_that_hardly_ever_names_a_type_has_no_negatives_of_it():
    types = np.zeros((20, 6), np.int8)
    types[:10, 5] = types[10:14, 5] = YES
    source = np.array(["a"] * 10 + ["b"] * 10)
    known = cases.without_unannotated(types, source)
    assert cases.unannotated(types, source) == {"a": list(TYPES[:5]), "b": list(TYPES)}
    assert known[:10, 5].tolist() == [YES] * 10
    assert known[10:, 5].tolist() == [YES] * 4 + [UNKNOWN] * 6
    assert (known[:, :5] == UNKNOWN).all()


def test_five_in_many_thousands_are_accidents():
    types = np.zeros((10_000, 6), np.int8)
    types[:9, 1] = types[:10, 2] = YES
    missing = cases.unannotated(types, np.full(10_000, "x"))["x"]
    assert "MI" in missing
    assert "STTC" not in missing


def test_rows_keep_reading_their_own_ecg(tmp_path):
    data = load(write_ptbxl(tmp_path / "p", 6, folds=(9,)), (9,))
    whole = from_arrays(data)
    some = whole.rows(np.array([4, 1])).rows(np.array([False, True]))
    assert some.record.tolist() == ["2"]
    assert some.groups["sex"].tolist() == ["female"]
    np.testing.assert_array_equal(some.ecg(0).voltage_mv, whole.ecg(1).voltage_mv)
    assert whole.spread(3).record.tolist() == ["1", "3", "6"]
    assert len(whole.spread(None)) == len(whole.spread(99)) == 6


@pytest.mark.parametrize(
    ("text", "sex"),
    [("M", "male"), ("Male", "male"), ("F\n", "female"), ("female", "female"), ("Unknown", "")],
)
def test_sexes_in_every_spelling(text, sex):
    assert cases.sex_of(text) == sex


@pytest.mark.parametrize("text", ["NaN", "Unknown", "", "-1", "300", "inf"])
def test_an_age_that_cannot_be_is_unknown(text):
    assert np.isnan(cases.age_of(text))


def test_an_age():
    assert cases.age_of(" 63 ") == 63.0
    assert cases.age_of(">89") == 89.0
