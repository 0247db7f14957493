"""`[critical]`: which findings somebody has to be told of at once, and who has to answer by when.

Only what the models really say is judged: rhythms of the strip model, by what was measured. The
defaults are few and far from normal, so that an alert stays rare; nothing is critical because of
an anomaly score or a type's probability.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from pydantic import Field, field_validator

from integration.sections import Section
from model.findings import Findings, RhythmFinding, StripFindings

_OFF = "off"  # neither TOML nor the environment can say None
_MAX_ANSWER_MIN = 7 * 24 * 60.0
_MIN_BEATS = 9  # eight intervals, as many as a monitor's rate meter takes


class CriticalSettings(Section):
    """Critical findings; a kind that is `off`, None here, is never critical."""

    ventricular_run_beats: int | None = Field(
        5, ge=3, description="a ventricular run of so many beats, or more"
    )
    pause_s: float | None = Field(4.0, ge=2, description="a pause of so many seconds, or more")
    af_rate_bpm: float | None = Field(
        150.0, gt=0, description="AF or flutter with so high a heart rate"
    )
    bradycardia_bpm: float | None = Field(35.0, gt=0, description="bradycardia as slow as this")
    tachycardia_bpm: float | None = Field(180.0, gt=0, description="tachycardia as fast as this")
    acknowledge_min: float | None = Field(
        30.0,
        gt=0,
        le=_MAX_ANSWER_MIN,
        description="minutes in which a clinician has to answer, see README; then it is "
        "escalated. Off: nobody is asked to",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _off_is_none(cls, value: object) -> object:
        return None if value == _OFF else value

    def answer_by(self, raised_at: datetime) -> datetime | None:
        """Return until when a clinician has to answer; None: nobody is asked to."""
        if self.acknowledge_min is None:
            return None
        return raised_at + timedelta(minutes=self.acknowledge_min)


def critical_in(findings: Findings, settings: CriticalSettings) -> tuple[str, ...]:
    """Return the codes of the rhythms that are critical, each once: of the ECG, of its episode."""
    found = [rhythm.code for rhythm in critical_rhythms(findings.strip, settings)]
    if findings.episode is not None and findings.episode.critical:
        found.append(findings.episode.code)
    return tuple(dict.fromkeys(found))


def critical_rhythms(
    strip: StripFindings | None, settings: CriticalSettings
) -> tuple[RhythmFinding, ...]:
    """Return the rhythms of a strip that are critical; none where nothing could be read."""
    if strip is None:
        return ()
    return tuple(rhythm for rhythm in strip.rhythms if _is_critical(rhythm, strip, settings))


def _is_critical(rhythm: RhythmFinding, strip: StripFindings, settings: CriticalSettings) -> bool:
    match rhythm.code:
        case "ventricular-run":
            return _reaches(rhythm.value, settings.ventricular_run_beats)
        case "pause":
            return _reaches(rhythm.value, settings.pause_s)
        case "tachycardia":
            return _reaches(rhythm.value, settings.tachycardia_bpm)
        case "AF":
            rate = _rate_within(strip, rhythm)
            return rate is not None and _reaches(rate, settings.af_rate_bpm)
        case "bradycardia":
            slow = settings.bradycardia_bpm
            return slow is not None and rhythm.value <= slow
        case _:
            return False


def _rate_within(strip: StripFindings, rhythm: RhythmFinding) -> float | None:
    """Return the median rate of a rhythm's own beats; the strip's, where they are too few."""
    times_s = [b.time_s for b in strip.beats if rhythm.start_s <= b.time_s <= rhythm.end_s]
    if len(times_s) < _MIN_BEATS:
        return strip.heart_rate_bpm
    return 60 / median(later - earlier for earlier, later in pairwise(times_s))


def _reaches(value: float, limit: float | None) -> bool:
    return limit is not None and value >= limit
