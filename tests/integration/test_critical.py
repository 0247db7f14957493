from dataclasses import replace

import pytest

from integration.critical import CriticalSettings, critical_in
from model.findings import RhythmFinding

USUAL = CriticalSettings()


@pytest.fixture
def judged(findings_of):
    def judge(*rhythms, rate=72.0, settings=USUAL):
        found = findings_of("rhythm")
        own = tuple(RhythmFinding(code, 1.0, 3.0, value, 0.5) for code, value in rhythms)
        strip = replace(found.strip, rhythms=own, heart_rate_bpm=rate)
        return critical_in(replace(found, strip=strip), settings)

    return judge


@pytest.mark.parametrize(
    ("code", "value", "rate", "critical"),
    [
        ("ventricular-run", 4, 72, False),
        ("ventricular-run", 5, 72, True),
        ("supraventricular-run", 50, 72, False),
        ("pause", 3.9, 72, False),
        ("pause", 4.0, 72, True),
        ("AF", 0.99, 149, False),
        ("AF", 0.6, 150, True),
        ("AF", 0.99, None, False),
        ("bradycardia", 36, 36, False),
        ("bradycardia", 35, 35, True),
        ("tachycardia", 179, 179, False),
        ("tachycardia", 180, 180, True),
    ],
)
def test_what_is_critical_by_default(judged, code, value, rate, critical):
    assert judged((code, value), rate=rate) == ((code,) if critical else ())


@pytest.mark.parametrize("name", sorted(CriticalSettings.model_fields.keys() - {"acknowledge_min"}))
def test_each_kind_can_be_left_out(judged, name):
    extreme = [("ventricular-run", 99), ("pause", 9), ("AF", 1), ("bradycardia", 20)]
    extreme.append(("tachycardia", 250))
    left = judged(*extreme, rate=200, settings=CriticalSettings(**{name: None}))
    assert len(left) == 4


def test_each_is_told_once(judged):
    assert judged(("pause", 5), ("pause", 6)) == ("pause",)


@pytest.mark.parametrize("kind", ["flagged", "unscorable", "plain-rhythm"])
def test_without_a_rhythm_finding_nothing_is_critical(findings_of, kind):
    assert critical_in(findings_of(kind), USUAL) == ()
