from dataclasses import replace

import numpy as np
import pytest

from model.bundle import save_bundle
from model.ecg import Ecg
from model.errors import BundleError
from model.findings import AAMI_CLASSES
from model.resting.card import load_resting
from model.simulate import simulate
from model.strip import detector as module
from model.strip.detector import StripDetector
from tests.beat_records import N, V, beat_record


@pytest.fixture(scope="module")
def detector(strip_bundle):
    return StripDetector(strip_bundle)


def ecg_of(record, leads=("II", "V1")):
    return Ecg(record.voltage_mv, leads, record.sampling_rate_hz)


def test_every_beat_has_time_class_probability_and_anomaly(detector):
    record = beat_record(seed=50)
    findings = detector.score(ecg_of(record))
    assert findings.model == detector.identity
    assert findings.leads == ("II", "V1")
    assert abs(len(findings.beats) - len(record.r_peaks)) <= 1
    times = np.array([beat.time_s for beat in findings.beats])
    assert (np.diff(times) > 0).all()
    assert all(0 < beat.probability <= 1 for beat in findings.beats)
    assert all(0 <= beat.anomaly_score <= 1 for beat in findings.beats)
    assert findings.heart_rate_bpm == pytest.approx(60 / 0.8, rel=0.05)
    assert sum(findings.attention) == pytest.approx(1)
    assert len(findings.attention) == len(findings.beats)


def test_it_tells_what_it_learned(detector):
    record = beat_record(seed=51, n_beats=120)
    reading = detector.read(record.voltage_mv, record.sampling_rate_hz, record.r_peaks)
    assert (reading.classes == record.classes).mean() > 0.9
    ectopic = record.classes == V
    assert np.median(reading.anomaly[ectopic]) > np.median(reading.anomaly[record.classes == N])
    assert set(reading.names) <= set(AAMI_CLASSES)


@pytest.mark.parametrize("rate_hz", [100.0, 360.0, 1_000.0])
def test_any_rate(detector, rate_hz):
    record = beat_record(seed=52, n_beats=30, rate_hz=rate_hz)
    reading = detector.read(record.voltage_mv, rate_hz)
    assert abs(len(reading.classes) - 30) <= 1


def test_one_lead_twelve_leads_and_a_few_seconds(detector):
    record = beat_record(seed=53, n_beats=6)
    alone = detector.score(Ecg(record.voltage_mv[:1], ("II",), record.sampling_rate_hz))
    many = np.repeat(record.voltage_mv[:1], 12, axis=0)
    twelve = detector.read(many, record.sampling_rate_hz)
    assert len(alone.beats) == len(twelve.classes)
    told = [AAMI_CLASSES.index(beat.aami_class) for beat in alone.beats]
    assert told == twelve.classes.tolist()


def test_a_lead_that_is_missing_for_a_while_does_not_speak(detector):
    record = beat_record(seed=54)
    one = detector.read(record.voltage_mv[:1], record.sampling_rate_hz, record.r_peaks)
    voltage = record.voltage_mv.copy()
    voltage[1] = np.nan
    two = detector.read(voltage, record.sampling_rate_hz, record.r_peaks)
    np.testing.assert_allclose(one.log_probabilities, two.log_probabilities, atol=1e-4)


def test_hours_are_read_in_pieces_that_say_what_the_whole_says(detector, monkeypatch):
    record = beat_record(seed=55, n_beats=200)
    whole = detector.read(record.voltage_mv, record.sampling_rate_hz)
    monkeypatch.setattr(module, "PIECE_S", 60.0)
    pieces = detector.read(record.voltage_mv, record.sampling_rate_hz)
    np.testing.assert_array_equal(whole.r_peaks, pieces.r_peaks)
    assert (whole.classes == pieces.classes).mean() > 0.95
    assert pieces.attention.sum() == pytest.approx(1)


def test_nothing_to_read_gives_no_beats(detector):
    flat = Ecg(np.zeros((1, 2_500), np.float32), ("II",), 250.0)
    findings = detector.score(flat)
    assert findings.beats == ()
    assert findings.heart_rate_bpm is None


def test_a_bundle_survives_the_disk_and_needs_its_graph(strip_bundle, tmp_path):
    save_bundle(tmp_path / "b", strip_bundle)
    assert StripDetector.load(tmp_path / "b").identity == strip_bundle.identity
    card = strip_bundle.card.model_copy(update={"graphs_sha256": {}})
    with pytest.raises(BundleError, match="graph-missing"):
        StripDetector(replace(strip_bundle, card=card, graphs={}))
    with pytest.raises(BundleError, match="graph-malformed"):
        StripDetector(replace(strip_bundle, graphs={"beats.onnx": b"no graph"}))
    other = load_resting().graphs["network.onnx"]
    with pytest.raises(BundleError, match="graph-unknown"):
        StripDetector(replace(strip_bundle, graphs={"beats.onnx": other}))


def test_the_shipped_bundle_tells_ventricular_ectopy_from_a_normal_heart():
    shipped = StripDetector.load()
    told = {}
    for kind in ("normal", "ventricular-ectopy"):
        ecg = simulate(kind, seed=1, sampling_rate_hz=250.0, duration_s=30.0)
        rows = [ecg.leads.index(lead) for lead in ("II", "V1")]
        findings = shipped.score(Ecg(ecg.voltage_mv[rows], ("II", "V1"), 250.0))
        told[kind] = [beat.aami_class for beat in findings.beats]
    assert told["normal"].count("N") / len(told["normal"]) > 0.95
    assert 0.1 < told["ventricular-ectopy"].count("V") / len(told["ventricular-ectopy"]) < 0.4
