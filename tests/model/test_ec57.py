"""EC57 comparison: rules by hand-made cases, then the reference tool's own counts."""

import numpy as np
import pytest

from model.annotations import (
    BXB_CLASSES,
    DE_CHAZAL_CLASSES,
    Annotations,
    beat_annotations,
    read_annotations,
)
from model.ec57 import LABELS, Comparison, compare, match_beats
from model.errors import DatasetError

RATE_HZ = 100.0  # 150 ms are 15 samples


def said(*pairs, subtypes=None):
    """Annotations of `(sample, symbol)`."""
    samples = np.array([sample for sample, _ in pairs], np.int64)
    symbols = np.array([symbol for _, symbol in pairs], "<U1")
    bits = np.zeros(len(pairs), np.int64) if subtypes is None else np.array(subtypes)
    return Annotations(samples, symbols, bits, ("",) * len(pairs), RATE_HZ)


def counted(reference, test, **settings):
    """`{'Vn': 1, ...}` without zeros."""
    counts = compare(reference, test, **{"start_s": 0.0, **settings}).counts
    return {
        LABELS[row] + LABELS[column].lower(): int(counts[row, column])
        for row, column in zip(*np.nonzero(counts), strict=True)
    }


def test_every_pair_of_classes_has_its_cell():
    classes = [(a, b) for a in "NSVFQ" for b in "NSVFQ"]
    at = range(100, 100 * len(classes) + 1, 100)
    reference = said(*((k, a) for k, (a, _) in zip(at, classes, strict=True)))
    test = said(*((k + 3, b) for k, (_, b) in zip(at, classes, strict=True)))
    assert counted(reference, test) == {a + b.lower(): 1 for a, b in classes}


@pytest.mark.parametrize(("shift", "pairs"), [(15, {"Nn": 1}), (16, {"No": 1, "On": 1})])
@pytest.mark.parametrize("sign", [-1, 1])
def test_window_is_150_ms_inclusive(shift, pairs, sign):
    assert counted(said((100, "N")), said((100 + sign * shift, "N")), n_samples=500) == pairs


def test_the_nearest_test_beat_is_taken():
    assert counted(said((100, "V")), said((88, "N"), (101, "V")), n_samples=500) == {
        "On": 1,
        "Vv": 1,
    }


def test_the_nearest_reference_beat_is_taken():
    assert counted(said((90, "N"), (101, "V")), said((100, "V")), n_samples=500) == {
        "No": 1,
        "Vv": 1,
    }


def test_missed_and_extra_beats():
    reference = said((100, "N"), (200, "V"), (300, "S"))
    test = said((100, "N"), (250, "V"), (301, "S"), (400, "F"))
    assert counted(reference, test, n_samples=500) == {
        "Nn": 1, "Vo": 1, "Ov": 1, "Ss": 1, "Of": 1,
    }  # fmt: skip


def test_without_a_length_the_reference_ends_it():
    reference, test = said((100, "N")), said((100, "N"), (400, "N"))
    assert counted(reference, test) == {"Nn": 1}
    assert counted(reference, test, n_samples=500) == {"Nn": 1, "On": 1}
    assert counted(reference, test, n_samples=300) == {"Nn": 1}


def test_nothing_on_one_side_or_both():
    none = said()
    assert counted(said((100, "N")), none, n_samples=500) == {"No": 1}
    assert counted(none, said((100, "V")), n_samples=500) == {"Ov": 1}
    assert counted(none, none) == {}


def test_learning_period_is_not_scored():
    reference = said((100, "V"), (200, "N"), (300, "S"))
    test = said((100, "N"), (200, "N"), (300, "N"))
    assert counted(reference, test, start_s=1.5) == {"Nn": 1, "Sn": 1}
    assert counted(reference, test, start_s=2.0) == {"Nn": 1, "Sn": 1}


def test_beats_across_the_start():
    test_before = said((195, "V"), (300, "N"))
    assert counted(said((205, "V"), (300, "N")), test_before, start_s=2.0) == {"Vv": 1, "Nn": 1}
    test_after = said((205, "V"), (300, "N"))
    assert counted(said((195, "V"), (300, "N")), test_after, start_s=2.0) == {"Nn": 1}


def test_flutter_in_the_reference_counts_for_nothing():
    reference = said((100, "N"), (200, "["), (250, "!"), (280, "V"), (300, "]"), (400, "N"))
    test = said((100, "N"), (200, "V"), (250, "V"), (300, "N"), (301, "V"), (400, "N"))
    assert counted(reference, test) == {"Nn": 2, "Ov": 1}


def test_flutter_without_end_reaches_to_the_end():
    reference = said((100, "N"), (200, "["))
    assert counted(reference, said((100, "N"), (300, "V")), n_samples=500) == {"Nn": 1}


def test_beats_missed_in_flutter_of_the_test_are_missed():
    test = said((100, "N"), (150, "["), (200, "V"), (250, "]"), (300, "N"))
    assert counted(said((100, "N"), (200, "V"), (300, "N")), test) == {"Nn": 2, "Vo": 1}


def test_unreadable_signal_is_marked_x_on_either_side():
    silent = said((100, "N"), (150, "~"), (250, "~"), (300, "N"), subtypes=[0, -1, 0, 0])
    noisy = said((100, "N"), (150, "~"), (250, "~"), (300, "N"), subtypes=[0, 0x10, 0, 0])
    all_beats = said((100, "N"), (200, "V"), (300, "N"))
    assert counted(silent, all_beats) == {"Nn": 2, "Xv": 1}
    assert counted(all_beats, silent) == {"Nn": 2, "Vx": 1}
    assert counted(noisy, all_beats) == {"Nn": 2, "Ov": 1}


def test_one_mark_inside_unreadable_signal_reaches_to_its_neighbours():
    marked = said((100, "N"), (200, "~"), (300, "N"), subtypes=[0, 0x30, 0])
    test = said((100, "N"), (114, "N"), (116, "V"), (284, "S"), (286, "Q"), (300, "N"))
    assert counted(marked, test) == {"Nn": 2, "On": 1, "Xv": 1, "Xs": 1, "Oq": 1}


def test_escape_beats_by_both_mappings():
    reference = said((100, "e"), (200, "j"), (300, "A"))
    test = said((100, "N"), (200, "S"), (300, "S"))
    assert counted(reference, test, classes=BXB_CLASSES) == {"Sn": 1, "Ss": 2}
    assert counted(reference, test, classes=DE_CHAZAL_CLASSES) == {"Nn": 1, "Ns": 1, "Ss": 1}


def test_fusion_and_unclassifiable_beats_raise_no_ventricular_alarm():
    reference = said((100, "F"), (200, "Q"), (300, "N"), (400, "S"), (500, "V"))
    test = said(*((at, "V") for at in (100, 200, 300, 400, 500, 550)))
    result = compare(reference, test, n_samples=600, start_s=0)
    assert result.ventricular[4:] == (1, 0, 3)
    assert result.one_class("V").false_positives == 5
    # Nothing but V was said, so nothing is a true negative.
    assert result.ventricular.false_positive_rate == 1.0


def test_unclassifiable_beats_raise_no_supraventricular_alarm_but_fusions_do():
    reference = said((100, "F"), (200, "Q"), (300, "N"), (400, "S"), (500, "V"))
    test = said(*((at, "S") for at in (100, 200, 300, 400, 500, 550)))
    result = compare(reference, test, n_samples=600, start_s=0)
    assert result.supraventricular[4:] == (1, 0, 4)


def test_figures():
    counts = np.zeros((7, 7), np.int64)
    counts[0, [0, 1, 2, 5]] = 90, 2, 1, 7  # N
    counts[2, [0, 2, 6]] = 3, 15, 2  # V
    counts[5, [0, 2]] = 4, 5  # O
    result = Comparison(counts)
    assert result.qrs[:2] == pytest.approx((111 / 120, 111 / 120))
    assert np.isnan(result.qrs.false_positive_rate)
    assert result.ventricular.sensitivity == pytest.approx(15 / 20)
    assert result.ventricular.positive_predictivity == pytest.approx(15 / 21)
    assert result.ventricular.f1 == pytest.approx(30 / 41)
    assert result.ventricular.false_positive_rate == pytest.approx(6 / (96 + 6))
    assert np.isnan(result.supraventricular.sensitivity)
    assert result.supraventricular.positive_predictivity == 0
    assert result.accuracy == pytest.approx(105 / 120)
    assert result.majority == pytest.approx(100 / 120)
    np.testing.assert_allclose(result.confusion()[0], [0.9, 0.02, 0.01, 0, 0, 0.07])
    np.testing.assert_allclose(result.confusion()[2], [0.15, 0, 0.75, 0, 0, 0.1])
    assert np.isnan(result.confusion()[1]).all()


def test_rr_error_skips_flutter_and_silence():
    reference = said((100, "N"), (200, "N"), (250, "["), (350, "]"), (400, "N"), (500, "N"))
    test = said((100, "N"), (203, "N"), (400, "N"), (504, "N"))
    # Intervals 100 and 100 against 103 and 104; the one with flutter in it does not count.
    assert compare(reference, test, start_s=0).rr_error_ms == pytest.approx(
        1000 * np.sqrt((0.03**2 + 0.04**2) / 2)
    )
    assert np.isnan(compare(said((100, "N")), said((100, "N")), start_s=0).rr_error_ms)


def test_gross_adds_up():
    one = compare(said((100, "V")), said((100, "V")), start_s=0)
    two = compare(said((100, "V"), (200, "N")), said((100, "N"), (205, "N")), start_s=0)
    gross = Comparison.gross([one, two])
    assert gross.ventricular[4:] == (1, 1, 0)
    assert gross.n_rr == 1
    assert gross.rr_error_ms == pytest.approx(50)


def test_rates_must_agree():
    other = beat_annotations(np.array([100]), ["N"], 250.0)
    with pytest.raises(DatasetError, match="rates-differ"):
        compare(said((100, "N")), other)


def test_match_beats_gives_indices_of_both():
    first, second = match_beats(np.array([100, 200, 300]), np.array([103, 250, 299, 400]), 15)
    assert first.tolist() == [0, 2]
    assert second.tolist() == [0, 2]


RECORDS = ("101", "106", "114", "119", "201", "203", "207", "208")


@pytest.mark.ecg_data
@pytest.mark.parametrize("start_s", [0, 300])
def test_counts_equal_those_of_bxb(mitdb, bxb, start_s):
    standard, rr_ms = _standard(bxb / f"std_f{start_s}.out")
    assert tuple(standard) == RECORDS
    for record in RECORDS:
        reference = read_annotations(mitdb / record, "atr")
        test = read_annotations(bxb / record, "tst")
        result = compare(reference, test, n_samples=650_000, start_s=start_s)
        np.testing.assert_array_equal(result.counts, standard[record], record)
        assert result.rr_error_ms == pytest.approx(rr_ms[record], abs=0.005)


@pytest.mark.ecg_data
@pytest.mark.parametrize("start_s", [0, 300])
def test_figures_equal_those_of_bxb(mitdb, bxb, start_s):
    lines = (bxb / f"line1_f{start_s}.out").read_text().splitlines()[1:9]
    for line in lines:
        record, *printed = line.split()
        result = compare(
            read_annotations(mitdb / record, "atr"),
            read_annotations(bxb / record, "tst"),
            n_samples=650_000,
            start_s=start_s,
        )
        kinds = (result.qrs, result.ventricular, result.supraventricular)
        ours = [100 * share for kind in kinds for share in kind[:2]]
        theirs = [np.nan if word == "-" else float(word) for word in printed[-7:-1]]
        np.testing.assert_allclose(ours, theirs, atol=0.005)


def _standard(path):
    """Matrix and RR error of each record in bxb's standard report."""
    counts, rr_ms = {}, {}
    for part in path.read_text().split("Beat-by-beat comparison results for record ")[1:]:
        record = part.split()[0]
        counts[record] = np.zeros((7, 7), np.int64)
        for line in part.splitlines():
            if line[2:4] == " |" and line[1] in LABELS:
                row = [int(word) for word in line[4:].split()]
                counts[record][LABELS.index(line[1]), : len(row)] = row
        rr_ms[record] = float(part.split("RMS RR interval error:")[1].split()[0])
    return counts, rr_ms
