"""Which model reads what, and what is left out where nothing can be read."""

import numpy as np
import pytest

from model.assessor import Assessor
from model.ecg import LEADS_12, Ecg
from model.findings import (
    Beat,
    Findings,
    ModelIdentity,
    Quality,
    RhythmFinding,
    StripFindings,
    TypeFinding,
)
from model.quality import assess_quality
from model.simulate import simulate

RESTING, STRIP = ModelIdentity("resting", "1", "ab" * 32), ModelIdentity("strip", "1", "cd" * 32)


class RestingDouble:
    """Says the same of every ECG."""

    def __init__(self, quality=Quality("good")):  # noqa: B008
        self.asked = []
        self.quality = quality

    def examine(self, ecg):
        self.asked.append(ecg)
        return Findings(self.quality, RESTING, types=(TypeFinding("MI", 0.5, 0.4),)), "opinion"


class StripDouble:
    """Finds a beat a second, and AF from the first to the last."""

    identity = STRIP

    def __init__(self):
        self.asked = []

    def score(self, ecg, r_peaks=None):
        self.asked.append(ecg)
        seconds = int(ecg.duration_s)
        beats = tuple(Beat(s + 0.5, "N", 0.9, 0.1) for s in range(seconds))
        rhythms = (
            RhythmFinding("AF", 0.0, 8.0, 0.9, 0.5),
            RhythmFinding("pause", 12.0, 15.0, 3.0, 2.5),
        )
        return StripFindings(STRIP, ecg.leads, 60.0, beats, rhythms, (1 / seconds,) * seconds)


@pytest.fixture
def strips():
    return StripDouble()


def assess(ecg, strips, resting=None):
    return Assessor(resting or RestingDouble(), strips).score(ecg)


def part(ecg, leads, times=1):
    rows = [ecg.leads.index(lead) for lead in leads]
    return Ecg(np.tile(ecg.voltage_mv[rows], times), tuple(leads), ecg.sampling_rate_hz)


def test_a_resting_ecg_is_read_by_both_and_is_one_assessment(strips):
    findings = assess(simulate("normal", seed=1), strips)
    assert findings.model == RESTING
    assert [t.code for t in findings.types] == ["MI"]
    assert findings.strip.model == STRIP
    assert strips.asked[0].leads == ("II", "V1")


def test_what_resting_findings_rest_on_is_told(strips):
    assessor = Assessor(RestingDouble(), strips)
    assert assessor.examine(simulate("normal", seed=1))[1] == "opinion"
    assert assessor.examine(part(simulate("normal", seed=1), ("II",)))[1] is None


@pytest.mark.parametrize("leads", [("II",), ("II", "V1"), ("I", "II", "III")])
def test_few_leads_are_a_strip(strips, leads):
    findings = assess(part(simulate("normal", seed=1), leads), strips)
    assert findings.model == STRIP
    assert findings.types == ()
    assert findings.strip.leads == leads
    assert findings.quality.verdict == "good"


def test_a_long_recording_is_a_strip(strips):
    resting = RestingDouble()
    findings = assess(part(simulate("normal", seed=1), LEADS_12, times=61), strips, resting)
    assert findings.model == STRIP
    assert resting.asked == []


def test_what_the_resting_gate_refuses_is_read_by_nobody(strips):
    resting = RestingDouble(Quality("unscorable", ("no-qrs",)))
    findings = assess(simulate("normal", seed=1), strips, resting)
    assert findings.strip is None
    assert strips.asked == []


def lasting(seconds, flat_s=None, leads=LEADS_12):
    """An ECG of whole tens of seconds, flat in the ten that begin at `flat_s`."""
    ecg = part(simulate("normal", seed=1), leads, times=seconds // 10)
    voltage = ecg.voltage_mv.copy()
    if flat_s is not None:
        first, last = (round(s * ecg.sampling_rate_hz) for s in (flat_s, flat_s + 10))
        voltage[:, first:last] = 0.0
    return Ecg(voltage, leads, ecg.sampling_rate_hz)


def test_a_resting_ecg_whose_rhythm_is_read_in_part_says_so(strips):
    findings = assess(lasting(30, flat_s=10), strips)
    assert findings.quality == Quality("limited", ("no-readable-lead",))
    assert len(findings.strip.beats) == 20


def test_a_resting_ecg_whose_rhythm_is_not_read_says_so_and_keeps_its_types(strips):
    findings = assess(lasting(10, flat_s=0), strips, RestingDouble(Quality("limited", ("x",))))
    assert findings.quality == Quality("limited", ("x", "no-readable-lead"))
    assert (findings.strip, len(findings.types)) == (None, 1)


@pytest.mark.parametrize("rate_hz", [80.0, 1024.0, 2000.0])
def test_a_rate_that_the_strip_model_does_not_read(strips, rate_hz):
    ecg = simulate("normal", seed=1, sampling_rate_hz=rate_hz)
    twelve, one = assess(ecg, strips), assess(part(ecg, ("II",)), strips)
    assert twelve.quality == Quality("limited", ("rate-out-of-range",))
    assert (twelve.strip, len(twelve.types)) == (None, 1)
    assert one == Findings(Quality("unscorable", ("rate-out-of-range",)), STRIP)
    assert strips.asked == []


def test_rhythm_comes_from_leads_that_can_be_read(strips):
    ecg = simulate("normal", seed=1)
    flat = ecg.voltage_mv.copy()
    flat[ecg.leads.index("II")] = 0.0
    faulty = Ecg(flat, ecg.leads, ecg.sampling_rate_hz)
    resting = RestingDouble(assess_quality(faulty))
    assess(faulty, strips, resting)
    assert strips.asked[0].leads == ("V1",)


def test_too_short_a_strip(strips):
    ecg = simulate("normal", seed=1)
    short = Ecg(ecg.voltage_mv[:1, : round(4 * ecg.sampling_rate_hz)], ("I",), ecg.sampling_rate_hz)
    findings = assess(short, strips)
    assert (findings.quality.verdict, findings.quality.reasons) == ("unscorable", ("too-short",))


def test_nothing_to_read_is_unscorable_and_never_normal(strips):
    flat = Ecg(np.zeros((1, 5000), np.float32), ("II",), 250.0)
    findings = assess(flat, strips)
    assert findings.quality.verdict == "unscorable"
    assert findings.quality.reasons == ("no-readable-lead",)
    assert [(f.lead, f.reason) for f in findings.quality.lead_faults] == [("II", "flat-line")]
    assert findings.strip is None
    assert strips.asked == []


def test_beats_and_rhythms_of_what_cannot_be_read_are_left_out(strips):
    ecg = lasting(30, flat_s=10, leads=("II",))
    ten = round(10 * ecg.sampling_rate_hz)
    findings = assess(ecg, strips)
    assert findings.quality.verdict == "limited"
    assert findings.quality.reasons == ("no-readable-lead",)
    times = [beat.time_s for beat in findings.strip.beats]
    assert len(times) == 20
    assert not [t for t in times if 10 <= t < 20]
    assert [r.code for r in findings.strip.rhythms] == ["AF"]
    assert sum(findings.strip.attention) == pytest.approx(1.0)
    assert np.isnan(strips.asked[0].voltage_mv[:, ten : 2 * ten]).all()


def test_a_lead_that_is_never_readable_is_named_and_not_shown(strips):
    ecg = part(simulate("normal", seed=1), ("I", "II"))
    voltage = ecg.voltage_mv.copy()
    voltage[0] = 0.0
    findings = assess(Ecg(voltage, ("I", "II"), ecg.sampling_rate_hz), strips)
    assert findings.strip.leads == ("II",)
    assert [(f.lead, f.reason) for f in findings.quality.lead_faults] == [("I", "flat-line")]
    assert findings.quality.verdict == "limited"
