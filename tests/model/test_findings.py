import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from model.findings import (
    Beat,
    EpisodeFinding,
    Explanation,
    Findings,
    Interval,
    LeadFault,
    ModelIdentity,
    Quality,
    RhythmFinding,
    StripFindings,
    TypeFinding,
)

MODEL = ModelIdentity("resting", "1", "ab" * 32)
SCORED = Findings(
    quality=Quality("limited", (), (LeadFault("V2", "flat-line"),)),
    model=MODEL,
    types=(TypeFinding("MI", 0.5, 0.5), TypeFinding("CD", 0.2, 0.4)),
    normal_probability=0.1,
    anomaly_score=0.97,
    anomaly_threshold=0.95,
    explanation=Explanation(
        0.1, {"MI": (0.25, 0.75)}, {"I": (0.01, 0.02)}, (Interval(0.1, 0.2, "I", 0.75, "MI"),)
    ),
)
WITH_STRIP = Findings(
    quality=Quality("good"),
    model=MODEL,
    strip=StripFindings(
        model=ModelIdentity("strip", "1", "cd" * 32),
        leads=("II",),
        heart_rate_bpm=72.5,
        beats=(Beat(0.8, "N", 0.99, 0.2), Beat(1.6, "V", 0.9, 0.999)),
        rhythms=(RhythmFinding("AF", 0.0, 10.0, 0.8, 0.5),),
        attention=(0.25, 0.75),
    ),
)
REFUSED = Findings(quality=Quality("unscorable", ("too-short",)), model=MODEL)
BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PAUSE = EpisodeFinding("pause", BEGAN, BEGAN + timedelta(seconds=9), None, 9.0, 3.0, critical=True)
ONSET = replace(REFUSED, episode=PAUSE)


@pytest.mark.parametrize("findings", [SCORED, WITH_STRIP, REFUSED, ONSET])
def test_json_there_and_back(findings):
    assert Findings.from_json(json.loads(json.dumps(findings.to_json()))) == findings


def test_what_is_not_critical_says_nothing_of_it():
    usual = replace(ONSET, episode=replace(PAUSE, critical=False))
    plain = usual.to_json()
    assert "critical" not in plain["episode"]
    assert Findings.from_json(plain) == usual


def test_a_threshold_is_reached_when_met():
    assert [t.code for t in SCORED.flagged_types] == ["MI"]
    assert SCORED.anomalous


def test_an_unscorable_ecg_is_never_called_anything():
    assert not REFUSED.quality.scorable
    assert REFUSED.flagged_types == ()
    assert not REFUSED.anomalous
    assert REFUSED.normal_probability is None
