"""What the strip model found, as Observations."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from integration.fhir import codes
from integration.fhir.strip import episode_content, strip_contents, tells_end
from integration.fhir.wording import measured_in_words
from model.findings import (
    AAMI_CLASSES,
    RHYTHM_NAMES,
    RHYTHM_UNITS,
    EpisodeFinding,
    RhythmFinding,
)


def test_rate_rhythm_and_beats(findings_of):
    said = strip_contents(findings_of("rhythm").strip)
    assert said["heart-rate"]["valueQuantity"]["value"] == 72.5
    assert said["heart-rate"]["valueQuantity"]["code"] == "/min"
    # R4's profile of this LOINC code, which validators hold every such Observation against.
    assert said["heart-rate"]["category"][0]["coding"][0]["code"] == "vital-signs"
    assert said["rhythm"]["valueCodeableConcept"]["text"] == (
        "Suspected: Atrial fibrillation or flutter; Suspected: Bradycardia"
    )
    first, _ = said["rhythm"]["component"]
    assert first["code"]["coding"][0]["code"] == "AF"
    assert (first["valueRange"]["low"]["value"], first["valueRange"]["high"]["value"]) == (0, 6.5)
    assert first["referenceRange"] == [{"text": "probability 0.83, flagged from 0.50"}]
    counts = [c["valueInteger"] for c in said["beats"]["component"]]
    assert said["beats"]["valueInteger"] == sum(counts) == 10
    assert dict(zip(AAMI_CLASSES, counts, strict=True)) == {"N": 7, "S": 1, "V": 2, "F": 0, "Q": 0}


def test_without_beats_there_is_no_rate_and_no_claim_of_a_normal_rhythm(findings_of):
    said = strip_contents(findings_of("plain-rhythm").strip)
    assert said["heart-rate"]["dataAbsentReason"] == codes.NOT_PERFORMED
    assert "normal" not in said["rhythm"]["valueCodeableConcept"]["text"].lower()
    assert "component" not in said["rhythm"]


def test_every_rhythm_has_a_code_and_words():
    for code in RHYTHM_NAMES:
        assert codes.RHYTHM_FINDING[code]["coding"]
        told = measured_in_words(RhythmFinding(code, 0.0, 3.0, 3.0, 2.0))
        assert RHYTHM_UNITS[code] in told
        assert "flagged" in told


def test_an_episode_has_an_end_once_it_has_one():
    onset = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    going = EpisodeFinding("AF", onset, onset + timedelta(seconds=40), None, 0.9, 0.5)
    said = episode_content(going)
    assert said["effectivePeriod"] == {"start": "2026-03-01T12:00:00.000+00:00"}
    assert said["code"] == codes.RHYTHM_FINDING["AF"]
    ended = episode_content(replace(going, ended="over"))
    assert ended["effectivePeriod"]["end"] == "2026-03-01T12:00:40.000+00:00"
    assert not tells_end({"entry": [{"resource": said}, {"resource": {}}]})
    assert tells_end({"entry": [{"resource": ended}]})
