import json

import pytest

from model.findings import (
    Beat,
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


@pytest.mark.parametrize("findings", [SCORED, WITH_STRIP, REFUSED])
def test_json_there_and_back(findings):
    assert Findings.from_json(json.loads(json.dumps(findings.to_json()))) == findings


def test_a_threshold_is_reached_when_met():
    assert [t.code for t in SCORED.flagged_types] == ["MI"]
    assert SCORED.anomalous


def test_an_unscorable_ecg_is_never_called_anything():
    assert not REFUSED.quality.scorable
    assert REFUSED.flagged_types == ()
    assert not REFUSED.anomalous
    assert REFUSED.normal_probability is None
