import numpy as np
import pytest

from model.errors import DatasetError
from model.strip.detector import StripDetector
from model.strip.evaluate import evaluate_folder
from tests.beat_records import beat_record, write_record


def test_a_folder_is_measured_by_ec57(strip_bundle, tmp_path):
    records = [beat_record(str(k), n_beats=100, seed=70 + k) for k in range(2)]
    for record in records:
        write_record(tmp_path, record)
    done = []
    figures = evaluate_folder(StripDetector(strip_bundle), tmp_path, lambda: done.append(1))
    assert len(done) == figures["records"] == 2
    known = figures["annotated, de-chazal"]
    classes = np.concatenate([r.classes for r in records])
    assert np.sum(known["counts"]) == len(classes)
    assert known["majority_accuracy"] == pytest.approx((classes == 0).mean())
    assert known["accuracy"]["value"] > known["majority_accuracy"]
    assert known["accuracy"]["low"] <= known["accuracy"]["value"] <= known["accuracy"]["high"]
    assert set(known["by_record"]) == {"0", "1"}
    assert figures["detected, bxb"]["qrs"]["sensitivity"] > 0.95
    assert figures["anomaly_auroc"]["value"] > 0.8
    assert figures["cpu_seconds_an_hour"] > 0
    assert figures["trained_on"] == []


def test_records_that_were_learned_from_are_named(strip_bundle, tmp_path):
    write_record(tmp_path, beat_record("made", n_beats=30, seed=75))
    assert evaluate_folder(StripDetector(strip_bundle), tmp_path)["trained_on"] == ["made"]


def test_an_empty_folder_is_refused(strip_bundle, tmp_path):
    with pytest.raises(DatasetError, match="dataset-missing"):
        evaluate_folder(StripDetector(strip_bundle), tmp_path)
