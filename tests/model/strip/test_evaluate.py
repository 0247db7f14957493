from dataclasses import replace

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


def test_records_that_were_learned_from_are_named_and_left_out_among_others(strip_bundle, tmp_path):
    write_record(tmp_path, beat_record("made", n_beats=30, seed=75, rate_hz=360.0))
    figures = evaluate_folder(StripDetector(strip_bundle), tmp_path)
    assert (figures["records"], figures["trained_on"], figures["left_out"]) == (1, ["made"], {})
    for name in ("100", "217", "202"):
        write_record(tmp_path, beat_record(name, n_beats=30, seed=76, rate_hz=360.0))
    done = []
    figures = evaluate_folder(StripDetector(strip_bundle), tmp_path, lambda: done.append(1))
    assert (figures["records"], figures["trained_on"]) == (2, [])
    assert figures["left_out"] == {"paced": ["217"], "trained-on": ["made"]}
    assert set(figures["annotated, bxb"]["by_record"]) == {"100", "202"}
    assert len(done) == 4


def test_another_record_of_a_person_that_was_learned_from_is_named(strip_bundle, tmp_path):
    origin = strip_bundle.card.origin.model_copy(update={"annotated_records": ("201",)})
    card = strip_bundle.card.model_copy(update={"origin": origin})
    write_record(tmp_path, beat_record("202", n_beats=30, seed=77, rate_hz=360.0))
    detector = StripDetector(replace(strip_bundle, card=card))
    assert evaluate_folder(detector, tmp_path)["persons_known"] == ["202"]


def test_a_record_of_another_rate_with_such_a_name_is_another_one(strip_bundle, tmp_path):
    """LTAF's 101 is not MIT-BIH's."""
    write_record(tmp_path, beat_record("made", n_beats=30, seed=75, rate_hz=128.0))
    assert evaluate_folder(StripDetector(strip_bundle), tmp_path)["trained_on"] == []


def test_what_cannot_be_measured_is_counted_and_the_rest_is_measured(strip_bundle, tmp_path):
    write_record(tmp_path, beat_record("a", n_beats=30, seed=78))
    write_record(tmp_path, beat_record("b", n_beats=30, seed=79))
    (tmp_path / "b.hea").write_text("b 0 250 6000\n")
    figures = evaluate_folder(StripDetector(strip_bundle), tmp_path)
    assert (figures["records"], figures["left_out"]) == (1, {"dataset-missing": ["b"]})
    (tmp_path / "a.dat").unlink()
    with pytest.raises(DatasetError, match=r"nothing-readable: .*dataset-missing: a b"):
        evaluate_folder(StripDetector(strip_bundle), tmp_path)


def test_records_of_one_patient_are_counted_together(strip_bundle, tmp_path):
    for k in range(2):
        write_record(tmp_path, beat_record(f"I0{k}", n_beats=60, seed=80 + k))
        with (tmp_path / f"I0{k}.hea").open("a") as header:
            header.write("# patient 1\n")
    figures = evaluate_folder(StripDetector(strip_bundle), tmp_path)
    assert (figures["records"], figures["patients"]) == (2, 1)
    accuracy = figures["annotated, bxb"]["accuracy"]
    assert accuracy["low"] == accuracy["value"] == accuracy["high"]


def test_an_empty_folder_is_refused(strip_bundle, tmp_path):
    with pytest.raises(DatasetError, match="dataset-missing"):
        evaluate_folder(StripDetector(strip_bundle), tmp_path)
