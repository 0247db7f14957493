"""Figures of many recordings: folders, gross and average, patients, the table."""

import numpy as np
import pytest

from model.annotations import DE_CHAZAL_CLASSES, write_annotations
from model.ec57 import Comparison
from model.ec57_report import Evaluation, evaluate_folders
from model.errors import DatasetError


def record(n_right, n_wrong):
    counts = np.zeros((7, 7), np.int64)
    counts[2, 2], counts[2, 0], counts[0, 0] = n_right, n_wrong, 50
    return Comparison(counts)


def ventricular_sensitivity(comparison):
    return comparison.ventricular.sensitivity


def test_gross_counts_beats_and_average_counts_recordings():
    evaluation = Evaluation({"100": record(90, 10), "105": record(1, 9), "106": record(0, 0)})
    assert ventricular_sensitivity(evaluation.gross) == pytest.approx(91 / 110)
    assert evaluation.average(ventricular_sensitivity) == pytest.approx((0.9 + 0.1) / 2)


def test_interval_draws_patients_so_that_two_recordings_of_one_go_together():
    twice = Evaluation({"100": record(10, 0), "201": record(0, 10), "202": record(0, 10)})
    assert twice.interval(ventricular_sensitivity).value == pytest.approx(1 / 3)
    # One draw of two patients holds the first twice, the second twice, or each once.
    once = twice.interval(ventricular_sensitivity, n_draws=1)
    assert once.low in (0.0, pytest.approx(1 / 3), 1.0)
    interval = twice.interval(ventricular_sensitivity)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_whose_a_recording_is_may_be_told():
    parts = {"I01": record(10, 0), "I02": record(0, 10)}
    of_one = Evaluation(parts, {"I01": "patient 1", "I02": "patient 1"})
    interval = of_one.interval(ventricular_sensitivity)
    assert (interval.low, interval.high) == (0.5, 0.5)
    assert Evaluation(parts).interval(ventricular_sensitivity).low == 0.0


def test_table_has_a_line_a_recording_and_dashes_where_nothing_was():
    lines = Evaluation({"100": record(90, 10), "106": record(0, 0)}).table().splitlines()
    assert [line.split()[0] for line in lines] == ["Record", "100", "106", "Gross", "Average"]
    assert lines[1].split()[1:] == ["100.00", "100.00", "90.00", "100.00", "-", "-", "93.33"]
    assert lines[2].split()[3:5] == ["-", "-"]
    assert len({len(line) for line in lines}) == 1


def test_folders_are_compared_record_by_record(tmp_path):
    reference, test = tmp_path / "ref", tmp_path / "test"
    reference.mkdir()
    test.mkdir()
    beats = np.array([100, 200, 300])
    for name in ("a", "b", "unused"):
        write_annotations(reference, name, beats, ["N", "V", "S"], 100.0, extension="atr")
    write_annotations(test, "a", beats, ["N", "V", "N"], 100.0)
    write_annotations(test, "b", beats[:2] + 5, ["N", "V"], 100.0)
    evaluation = evaluate_folders(reference, test, start_s=0, classes=DE_CHAZAL_CLASSES)
    assert list(evaluation.records) == ["a", "b"]
    assert evaluation.gross.ventricular[4:] == (2, 0, 0)
    assert evaluation.gross.supraventricular[4:] == (0, 2, 0)
    assert evaluation.gross.qrs.false_negatives == 1


def test_refusals(tmp_path):
    with pytest.raises(DatasetError, match="annotations-missing"):
        evaluate_folders(tmp_path, tmp_path)
    write_annotations(tmp_path, "a", np.array([5]), ["N"], 100.0)
    with pytest.raises(DatasetError, match="annotations-missing"):
        evaluate_folders(tmp_path, tmp_path)


@pytest.mark.ecg_data
def test_length_of_a_recording_comes_from_its_header(mitdb, bxb):
    evaluation = evaluate_folders(mitdb, bxb, test_extension="tst", start_s=0)
    # Column Vv of bxb's line1_f0.out: record 106, and the sum of all eight.
    assert evaluation.records["106"].ventricular.true_positives == 457
    assert evaluation.gross.ventricular.true_positives == 2508
