from dataclasses import dataclass

import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.ecg import Ecg
from model.errors import DatasetError
from model.simulate import simulate
from model.strip import challenge
from model.strip.af import AfModel
from model.strip.challenge import RPeakReader, evaluate_cinc2017, figures, rhythm_class
from tests.cinc2017_folder import write_cinc2017


def test_a_folder_of_the_challenge_is_measured(af_model, tmp_path):
    folder = write_cinc2017(tmp_path / "cinc", n_per_class=3)
    seen = []
    measured = evaluate_cinc2017(RPeakReader(af_model), folder, lambda: seen.append(1))
    assert len(seen) == 12
    assert measured["table"] == "REFERENCE.csv"
    assert measured["strips"] == {"N": 3, "A": 3, "O": 3, "~": 3}
    assert measured["confusion"]["A"]["A"] == 3
    assert measured["confusion"]["~"]["~"] == 3
    assert measured["score_n_a_o"]["value"] > 0.6
    challenge.plot_confusion(measured, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_record_that_fails_stops_the_measurement(af_model, tmp_path):
    folder = write_cinc2017(tmp_path / "cinc", n_per_class=1)
    (folder / "A00002.mat").unlink()
    with pytest.raises(DatasetError, match="A00002"):
        evaluate_cinc2017(RPeakReader(af_model), folder)


def test_the_scores_are_the_challenges():
    # Worked by hand: N 2 of 3 right and one told too many, A 1 of 2, O 1 of 1 and one too many.
    measured = figures(tuple("NNNAAO~"), tuple("NNOANO~"))
    assert measured["f1"]["N"]["value"] == pytest.approx(2 * 2 / (3 + 3))
    assert measured["f1"]["A"]["value"] == pytest.approx(2 * 1 / (2 + 1))
    assert measured["f1"]["O"]["value"] == pytest.approx(2 * 1 / (1 + 2))
    assert measured["score_n_a_o"]["value"] == pytest.approx(2 / 3)
    assert measured["score_all_four"]["value"] == pytest.approx(3 / 4)
    assert measured["accuracy"]["value"] == pytest.approx(5 / 7)
    assert measured["majority"] == pytest.approx(3 / 7)
    assert measured["confusion"]["N"] == {"N": 2, "A": 0, "O": 1, "~": 0}
    low, high = measured["accuracy"]["low"], measured["accuracy"]["high"]
    assert low < 5 / 7 < high


def test_a_class_that_never_occurs_has_no_f1():
    measured = figures(("N", "A"), ("N", "N"))
    assert set(measured["f1"]) == {"N", "A"}
    assert measured["f1"]["A"]["value"] == 0.0


def test_strips_of_one_person_are_drawn_together():
    labels, told = ("N",) * 8, ("N",) * 4 + ("A",) * 4
    alone = figures(labels, told)["accuracy"]
    together = figures(labels, told, np.repeat([0, 1], 4))["accuracy"]
    assert together["low"] == 0.0
    assert alone["low"] > 0.0


@dataclass(frozen=True)
class RunsOnly:
    """Calls four beats in a row ventricular, as a network for beats might."""

    af: AfModel

    def read(self, voltage_mv, sampling_rate_hz):
        peaks = detect_r_peaks(voltage_mv, sampling_rate_hz)
        return Classed(peaks, ("V",) * 4 + ("N",) * (len(peaks) - 4))


@dataclass(frozen=True)
class Classed:
    r_peaks: np.ndarray
    names: tuple[str, ...]


def test_classes_of_beats_count_in_runs(af_model):
    ecg = simulate("normal", seed=3000, sampling_rate_hz=300.0, duration_s=30.0)
    lead = Ecg(ecg.voltage_mv[1:2], ("II",), 300.0)
    assert rhythm_class(RPeakReader(af_model), lead) == "N"
    assert rhythm_class(RunsOnly(af_model), lead) == "O"


def test_fibrillation_goes_before_other_findings(af_model):
    ecg = simulate("atrial-fibrillation", seed=3001, sampling_rate_hz=300.0, duration_s=30.0)
    assert rhythm_class(RunsOnly(af_model), Ecg(ecg.voltage_mv[1:2], ("II",), 300.0)) == "A"


@pytest.mark.parametrize(("lost_s", "told"), [(10, False), (20, True)])
def test_most_windows_lost_is_too_noisy(af_model, lost_s, told):
    ecg = simulate("normal", seed=3000, sampling_rate_hz=300.0, duration_s=30.0)
    voltage_mv = ecg.voltage_mv[1:2].copy()
    voltage_mv[:, (30 - lost_s) * 300 :] = 0.0
    lead = Ecg(voltage_mv, ("II",), 300.0)
    assert (rhythm_class(RPeakReader(af_model), lead) == "~") is told
