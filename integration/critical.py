"""`[critical]`: which findings somebody has to be told of at once, and who has to answer by when.

Only what the models really say is judged: rhythms of the strip model, by what was measured. The
defaults are few and far from normal, so that an alert stays rare; nothing is critical because of
an anomaly score or a type's probability.
"""

from pydantic import Field

from integration.sections import Section
from model.findings import Findings, RhythmFinding


class CriticalSettings(Section):
    """Critical findings; without a number that kind is never critical."""

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
        description="minutes in which a clinician has to answer, see README; then it is "
        "escalated. Unset: nobody is asked to",
    )


def critical_in(findings: Findings, settings: CriticalSettings) -> tuple[str, ...]:
    """Return the codes of the rhythms that are critical, each once."""
    if findings.strip is None:
        return ()
    rate = findings.strip.heart_rate_bpm
    found = [r.code for r in findings.strip.rhythms if _is_critical(r, rate, settings)]
    return tuple(dict.fromkeys(found))


def _is_critical(rhythm: RhythmFinding, rate: float | None, settings: CriticalSettings) -> bool:
    match rhythm.code:
        case "ventricular-run":
            return _reaches(rhythm.value, settings.ventricular_run_beats)
        case "pause":
            return _reaches(rhythm.value, settings.pause_s)
        case "tachycardia":
            return _reaches(rhythm.value, settings.tachycardia_bpm)
        case "AF":
            return rate is not None and _reaches(rate, settings.af_rate_bpm)
        case "bradycardia":
            slow = settings.bradycardia_bpm
            return slow is not None and rhythm.value <= slow
        case _:
            return False


def _reaches(value: float, limit: float | None) -> bool:
    return limit is not None and value >= limit
