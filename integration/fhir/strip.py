"""What the strip model found, as Observations: heart rate, rhythm, classes of beats.

A rhythm is a component with its stretch of time; what was measured and against which threshold
stands in its reference range. Beats are counted by AAMI class (ANSI/AAMI EC57, table 3).
"""

from collections import Counter

from integration.fhir import codes
from integration.fhir.codes import Json
from integration.fhir.wording import episode_in_words, measured_in_words
from model.findings import AAMI_CLASSES, RHYTHM_NAMES, EpisodeFinding, RhythmFinding, StripFindings

HEART_RATE, RHYTHM, BEATS, EPISODE = "heart-rate", "rhythm", "beats", "episode"


def strip_contents(strip: StripFindings) -> dict[str, Json]:
    """Return slug -> what an Observation says; the same slugs whatever was found."""
    return {
        HEART_RATE: _heart_rate(strip),
        RHYTHM: {"code": codes.RHYTHM} | _rhythm(strip),
        BEATS: {"code": codes.BEATS} | _beats(strip),
    }


def episode_content(episode: EpisodeFinding) -> Json:
    """Return what the Observation on an episode says; without an end while it goes on."""
    period = {"start": episode.onset.isoformat(timespec="milliseconds")}
    if episode.ended:
        period["end"] = episode.last_seen.isoformat(timespec="milliseconds")
    return {
        "code": codes.RHYTHM_FINDING[episode.code],
        "effectivePeriod": period,
        "valueCodeableConcept": {
            "text": f"Suspected: {RHYTHM_NAMES[episode.code]}, {episode_in_words(episode)}"
        },
        "interpretation": [codes.POSITIVE],
    }


def tells_end(bundle: Json) -> bool:
    """Whether a report says of an episode that it has ended."""
    return any("end" in e["resource"].get("effectivePeriod", {}) for e in bundle["entry"])


def _heart_rate(strip: StripFindings) -> Json:
    """Return the rate as R4's profile of its LOINC code asks for (observation-vitalsigns.html)."""
    said = {"code": codes.HEART_RATE, "category": [codes.VITAL_SIGNS, codes.PROCEDURE]}
    if strip.heart_rate_bpm is None:
        return said | {"dataAbsentReason": codes.NOT_PERFORMED}
    rate = {"value": round(strip.heart_rate_bpm, 1), "unit": "beats/minute"}
    return said | {"valueQuantity": rate | {"system": codes.UCUM, "code": "/min"}}


def _rhythm(strip: StripFindings) -> Json:
    names = dict.fromkeys(RHYTHM_NAMES[r.code] for r in strip.rhythms)
    said = "; ".join(f"Suspected: {name}" for name in names)
    value = {"text": said or "No rhythm finding reached its threshold"}
    components = [_stretch(rhythm) for rhythm in strip.rhythms]
    return {"valueCodeableConcept": value} | ({"component": components} if components else {})


def _stretch(rhythm: RhythmFinding) -> Json:
    return {
        "code": codes.RHYTHM_FINDING[rhythm.code],
        "valueRange": {"low": _seconds(rhythm.start_s), "high": _seconds(rhythm.end_s)},
        "interpretation": [codes.POSITIVE],
        "referenceRange": [{"text": measured_in_words(rhythm)}],
    }


def _beats(strip: StripFindings) -> Json:
    counts = Counter(beat.aami_class for beat in strip.beats)
    components = [
        {"code": codes.BEAT_CLASS[name], "valueInteger": counts[name]} for name in AAMI_CLASSES
    ]
    return {"valueInteger": len(strip.beats), "component": components}


def _seconds(value: float) -> Json:
    return {"value": round(value, 3), "unit": "s", "system": codes.UCUM, "code": "s"}
