from datetime import UTC, datetime

import numpy as np
import pytest

from model.ecg import LEADS_12, MAX_SAMPLES, Ecg, canonical_lead
from model.errors import EcgError


def ecg(**changes):
    fields = {
        "voltage_mv": np.zeros((2, 100), np.float32),
        "leads": ("I", "II"),
        "sampling_rate_hz": 100.0,
    }
    return Ecg(**(fields | changes))


def test_length_follows_from_samples_and_rate():
    recording = ecg(sampling_rate_hz=250.0)
    assert recording.n_samples == 100
    assert recording.duration_s == 0.4


def test_a_lead_is_found_by_name():
    voltage = np.array([[1, 2], [3, 4]], np.float32)
    assert ecg(voltage_mv=voltage).lead("II").tolist() == [3, 4]
    with pytest.raises(EcgError, match="lead-missing"):
        ecg().lead("V1")


def test_missing_samples_are_allowed():
    voltage = np.full((2, 3), np.nan, np.float32)
    assert np.isnan(ecg(voltage_mv=voltage).lead("I")).all()


@pytest.mark.parametrize("name", LEADS_12)
def test_canonical_lead_forgives_case_and_blanks_only(name):
    assert canonical_lead(f" {name.upper()} ") == name
    assert canonical_lead(name.lower()) == name


@pytest.mark.parametrize("name", ["", "V7", "MLII", "-aVR", "D1", "1", "V 1", "I" * 10_000])
def test_other_names_are_unknown_and_told_shortly(name):
    with pytest.raises(EcgError) as caught:
        canonical_lead(name)
    assert caught.value.reason == "lead-unknown"
    assert len(caught.value.detail) < 100


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voltage_mv": np.zeros((2, 100))}, "samples-malformed"),
        ({"voltage_mv": np.zeros(100, np.float32)}, "samples-malformed"),
        ({"voltage_mv": np.zeros((3, 100), np.float32)}, "leads-malformed"),
        ({"voltage_mv": np.zeros((0, 100), np.float32), "leads": ()}, "leads-malformed"),
        ({"voltage_mv": np.zeros((2, 0), np.float32)}, "samples-out-of-range"),
        (
            {"voltage_mv": np.broadcast_to(np.float32(0), (2, MAX_SAMPLES + 1))},
            "samples-out-of-range",
        ),
        ({"leads": ("I", "I")}, "lead-duplicate"),
        ({"leads": ("I", "AVR")}, "lead-unknown"),
        ({"sampling_rate_hz": 0.0}, "rate-out-of-range"),
        ({"sampling_rate_hz": float("nan")}, "rate-out-of-range"),
        ({"sampling_rate_hz": 1e6}, "rate-out-of-range"),
        ({"start": datetime(2026, 1, 1)}, "time-naive"),  # noqa: DTZ001 - the fault under test
        ({"resolution_mv": (0.005,)}, "resolution-malformed"),
        ({"resolution_mv": (0.005, 0.0)}, "resolution-out-of-range"),
        ({"resolution_mv": (0.005, float("nan"))}, "resolution-out-of-range"),
        ({"voltage_mv": np.full((2, 9), 20.1, np.float32)}, "amplitude-implausible"),
        ({"voltage_mv": np.full((2, 9), -20.1, np.float32)}, "amplitude-implausible"),
        ({"voltage_mv": np.full((2, 9), np.inf, np.float32)}, "amplitude-implausible"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, reason):
    with pytest.raises(EcgError) as caught:
        ecg(**changes)
    assert caught.value.reason == reason


def test_repr_shows_no_samples():
    text = repr(ecg(start=datetime(2026, 1, 1, tzinfo=UTC)))
    assert "voltage" not in text
    assert "100.0" in text
