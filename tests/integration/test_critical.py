from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from integration.critical import CriticalSettings, critical_in
from model.findings import Beat, EpisodeFinding, RhythmFinding

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


@pytest.mark.parametrize("name", sorted(CriticalSettings.model_fields))
def test_each_is_switched_off_by_a_word(name):
    assert getattr(CriticalSettings.model_validate({name: "off"}), name) is None


@pytest.mark.parametrize("minutes", [0, float("inf"), 1e10, "never"])
def test_no_moment_follows_from_other_times_to_answer(minutes):
    with pytest.raises(ValidationError, match="acknowledge_min"):
        CriticalSettings.model_validate({"acknowledge_min": minutes})


def test_each_is_told_once(judged):
    assert judged(("pause", 5), ("pause", 6)) == ("pause",)


@pytest.mark.parametrize("kind", ["flagged", "unscorable", "plain-rhythm"])
def test_without_a_rhythm_finding_nothing_is_critical(findings_of, kind):
    assert critical_in(findings_of(kind), USUAL) == ()


def strip_of(findings, *rates_bpm, af, minutes=5):
    """A strip with AF in some of its parts, one after the other, each with a rate of its own."""
    times_s = [
        part * minutes * 60 + n * 60 / rate
        for part, rate in enumerate(rates_bpm)
        for n in range(round(minutes * rate))
    ]
    ends = [(part * minutes * 60, (part + 1) * minutes * 60) for part in af]
    return replace(
        findings.strip,
        heart_rate_bpm=72.0,
        beats=tuple(Beat(t, "N", 0.9, 0.1) for t in times_s),
        rhythms=tuple(RhythmFinding("AF", start, end, 0.9, 0.5) for start, end in ends),
    )


@pytest.mark.parametrize(
    ("rates_bpm", "af", "critical"),
    [((65, 165, 65, 65), [1], True), ((165, 80, 165, 165), [1], False)],
)
def test_fibrillation_is_judged_by_its_own_rate(findings_of, rates_bpm, af, critical):
    found = findings_of("rhythm")
    strip = strip_of(found, *rates_bpm, af=af)
    assert (critical_in(replace(found, strip=strip), USUAL) == ("AF",)) == critical


@pytest.mark.parametrize(("beats", "critical"), [(8, True), (9, False)])
def test_few_beats_tell_no_rate_of_their_own(findings_of, beats, critical):
    found = findings_of("rhythm")
    strip = strip_of(found, 60, af=[0], minutes=beats / 60)
    strip = replace(strip, heart_rate_bpm=160.0)
    assert bool(critical_in(replace(found, strip=strip), USUAL)) == critical


@pytest.mark.parametrize("kind", ["unscorable", "rhythm"])
@pytest.mark.parametrize("critical", [True, False])
def test_an_episode_is_critical_whatever_its_beginning_shows(findings_of, kind, critical):
    onset = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    last_seen = onset + timedelta(seconds=9)
    episode = EpisodeFinding("pause", onset, last_seen, None, 9.0, 3.0, critical)
    found = replace(findings_of(kind), episode=episode)
    assert critical_in(found, USUAL) == (("pause",) if critical else ())


def test_until_when_somebody_has_to_answer():
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert CriticalSettings(acknowledge_min=10).answer_by(now) == now + timedelta(minutes=10)
    assert CriticalSettings(acknowledge_min=None).answer_by(now) is None
