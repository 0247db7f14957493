"""What a clinician reads: the conclusion, and the plain page around it. Advisory, never more."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from math import ceil, floor

from db.records import ExamFacts
from db.reviews import ReportStatus, Review
from model.findings import (
    ABNORMALITY_TYPES,
    RHYTHM_NAMES,
    RHYTHM_UNITS,
    TYPE_NAMES,
    EpisodeFinding,
    Findings,
    Quality,
    RhythmFinding,
    StripFindings,
)

LABELS = {
    ReportStatus.PRELIMINARY: "AI-generated, not yet reviewed by a clinician.",
    ReportStatus.FINAL: "AI-generated, confirmed by a clinician.",
    ReportStatus.AMENDED: "AI-generated, overridden by a clinician.",
    ReportStatus.CORRECTED: "AI-generated, overridden by a clinician.",
    ReportStatus.ENTERED_IN_ERROR: "AI-generated, rejected by a clinician: not to be used.",
}
LABEL = LABELS[ReportStatus.PRELIMINARY]
CAVEAT = "Decision support, not a diagnosis."
ANOMALY = "anomaly"
MAX_PLACES = 3

_ECTOPIC = {"V": "ventricular", "S": "supraventricular", "F": "fusion"}
_LOW = {"bradycardia"}  # whose lowest value is the most extreme
_REASONS = {
    "too-short": "the recording is too short",
    "too-few-leads": "too few readable leads",
    "few-leads": "some findings need more leads",
    "no-qrs": "no QRS complexes found",
    "no-readable-lead": "no lead shows the beats clearly",
    "heart-rate-out-of-range": "the heart rate found is impossible",
    "rate-out-of-range": "beats and rhythm are read at 100-1000 Hz only",
    "limb-leads-inconsistent": "the limb leads contradict each other",
}


def conclusion(findings: Findings) -> str:
    """Return the sentences of DiagnosticReport.conclusion."""
    if not findings.quality.scorable:
        middle = [
            *_episode_sentences(findings.episode),
            f"The ECG could not be analysed: {quality_in_words(findings.quality)}.",
            "Nothing is said about the heart; consider repeating the recording.",
        ]
        return " ".join([LABEL, *middle])
    middle = [
        *_episode_sentences(findings.episode),
        *_type_sentences(findings),
        *_withheld_sentences(findings),
        *_anomaly_sentences(findings),
    ]
    if findings.strip:
        middle += _strip_sentences(findings.strip)
    if findings.quality.lead_faults or set(findings.quality.reasons) - {"few-leads"}:
        middle.append(f"Signal quality {quality_in_words(findings.quality)}.")
    return " ".join([LABEL, *middle, CAVEAT])


def heading(status: ReportStatus) -> str:
    """Return the first line of a page."""
    withdrawn = status is ReportStatus.ENTERED_IN_ERROR
    return f"ECG ANALYSIS BY AI - {'WITHDRAWN' if withdrawn else status.upper()}"


def page(exam: ExamFacts, findings: Findings, issued: datetime) -> str:
    """Return the report as plain text, without a patient's name or number."""
    lines = [
        heading(ReportStatus.PRELIMINARY),
        "",
        f"Recorded  {moment_in_words(exam.acquired)}",
        f"Issued    {moment_in_words(issued)}",
        f"Exam      {exam.id}",
        "",
        conclusion(findings),
        "",
        *_table(findings),
        *_strip_lines(findings.strip),
        f"Quality   {quality_in_words(findings.quality)}",
        f"Model     {findings.model.name} {findings.model.version}",
        f"SHA-256   {findings.model.sha256}",
    ]
    return "\n".join(lines) + "\n"


def quality_in_words(quality: Quality) -> str:
    """Return verdict, reasons and unreadable leads, such as `limited; unreadable: V1 (noise)`.

    The reasons of what was analysed are those for which a part of it was not.
    """
    reasons = ", ".join(reason_in_words(reason) for reason in quality.reasons)
    leads = ", ".join(f"{f.lead} ({reason_in_words(f.reason)})" for f in quality.lead_faults)
    if quality.scorable:
        parts = [quality.verdict, *([f"in part not assessed: {reasons}"] if reasons else [])]
    else:
        parts = [reasons or quality.verdict]
    return "; ".join([*parts, *([f"unreadable: {leads}"] if leads else [])])


def reason_in_words(reason: str) -> str:
    """Return a reason code as words."""
    return _REASONS.get(reason, reason.replace("-", " "))


def reviewed_in_words(status: ReportStatus, review: Review | None) -> str:
    """Return the label of a version, with who decided and when."""
    if review is None:
        return LABELS[status]
    return f"{LABELS[status]} {review.reviewer.shown}, {moment_in_words(review.at)}"


def places(findings: Findings, type_code: str) -> str:
    """Return where the model looked, such as `V2, 3.1-3.6 s; V5, 7.0-7.4 s`, strongest first."""
    intervals = findings.explanation.intervals if findings.explanation else ()
    mine = [i for i in intervals if i.type_code == type_code][:MAX_PLACES]
    return "; ".join(f"{i.lead}, {_stretch(i.start_s, i.end_s)} s" for i in mine)


def _stretch(start_s: float, end_s: float) -> str:
    """Return the tenths of a second that cover it: a short one keeps a length."""
    first, last = floor(round(10 * start_s, 2)), ceil(round(10 * end_s, 2))
    return f"{first / 10:.1f}-{last / 10:.1f}"


def moment_in_words(moment: datetime | date | None) -> str:
    """Return a time as it is printed, or `unknown`."""
    if isinstance(moment, datetime):
        return moment.isoformat(" ", "seconds")
    return moment.isoformat() if moment else "unknown"


def by_gravity(rhythms: Sequence[RhythmFinding]) -> dict[str, list[RhythmFinding]]:
    """Return code -> its findings; the gravest code first, and of each the most extreme value."""
    found = {}
    for code in RHYTHM_NAMES:
        if mine := [rhythm for rhythm in rhythms if rhythm.code == code]:
            found[code] = sorted(mine, key=lambda r: r.value, reverse=code not in _LOW)
    return found


def value_in_words(rhythm: RhythmFinding) -> str:
    """Return what was measured, such as `38 beats/min` or `probability 0.83`."""
    unit = RHYTHM_UNITS[rhythm.code]
    value = _in_unit(rhythm.value, unit)
    return f"probability {value}" if unit == "probability" else value


def measured_in_words(rhythm: RhythmFinding) -> str:
    """Return value against threshold, such as `38 beats/min, flagged below 50 beats/min`."""
    side = "below" if rhythm.code in _LOW else "from"
    limit = _in_unit(rhythm.threshold, RHYTHM_UNITS[rhythm.code])
    return f"{value_in_words(rhythm)}, flagged {side} {limit}"


def stretch_in_words(rhythm: RhythmFinding) -> str:
    """Return when and what, such as `6.5-9.9 s, 38 beats/min, flagged below 50 beats/min`."""
    return f"{_stretch(rhythm.start_s, rhythm.end_s)} s, {measured_in_words(rhythm)}"


def rate_in_words(strip: StripFindings) -> str:
    """Return the heart rate, such as `72/min`."""
    return "unknown" if strip.heart_rate_bpm is None else f"{strip.heart_rate_bpm:.0f}/min"


def ectopy_in_words(strip: StripFindings) -> str:
    """Return how many beats are of which ectopic class, such as `2 ventricular`; empty if none."""
    counts = Counter(beat.aami_class for beat in strip.beats)
    return ", ".join(f"{counts[c]} {name}" for c, name in _ECTOPIC.items() if counts[c])


def episode_in_words(episode: EpisodeFinding) -> str:
    """Return since when it lasts, or how long it lasted, and how it ended."""
    onset = moment_in_words(episode.onset)
    worst = measured_in_words(
        RhythmFinding(episode.code, 0.0, 0.0, episode.value, episode.threshold)
    )
    if episode.ended is None:
        return f"since {onset}, {worst}"
    lasted = f"from {onset} for {_duration_in_words(episode.duration_s)}, {worst}"
    return lasted + ("; then the signal was lost" if episode.ended == "signal-lost" else "")


def _in_unit(value: float, unit: str) -> str:
    if unit == "probability":
        return f"{value:.2f}"
    return f"{value:{'.1f' if unit == 's' else '.0f'}} {unit}"


def _duration_in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "under 1 s"


def _episode_sentences(episode: EpisodeFinding | None) -> list[str]:
    if episode is None:
        return []
    name = _in_sentence(RHYTHM_NAMES[episode.code])
    verb = "Suspected episode of" if episode.ended else "Suspected onset of"
    return [f"{verb} {name} in a continuous recording ({episode_in_words(episode)})."]


def _strip_sentences(strip: StripFindings) -> list[str]:
    said = []
    for code, mine in by_gravity(strip.rhythms).items():
        where = "; ".join(map(stretch_in_words, mine[:MAX_PLACES]))
        more = f"; {len(mine) - MAX_PLACES} more" if len(mine) > MAX_PLACES else ""
        said.append(f"Suspected {_in_sentence(RHYTHM_NAMES[code])} ({where}{more}).")
    if ectopy := ectopy_in_words(strip):
        said.append(f"Suspected ectopic beats: {ectopy}, of {len(strip.beats)} beats.")
    return [*said, f"Heart rate {rate_in_words(strip)}."]


def _type_sentences(findings: Findings) -> list[str]:
    if not findings.types:
        return ["The abnormality types of a 12-lead ECG were not assessed."]
    if not findings.flagged_types:
        return ["No abnormality type reached its threshold, which does not exclude one."]
    return [
        f"Suspected {_in_sentence(TYPE_NAMES[t.code])} "
        f"(probability {t.probability:.2f}, flagged from {t.threshold:.2f}"
        f"{_attention(findings, t.code)})."
        for t in findings.flagged_types
    ]


def _withheld_sentences(findings: Findings) -> list[str]:
    told = {t.code for t in findings.types}
    names = [_in_sentence(TYPE_NAMES[code]) for code in ABNORMALITY_TYPES if code not in told]
    if "few-leads" not in findings.quality.reasons or not names:
        return []
    return [f"Not assessed, because these leads cannot carry it: {', '.join(names)}."]


def _anomaly_sentences(findings: Findings) -> list[str]:
    score, threshold = findings.anomaly_score, findings.anomaly_threshold
    if score is None or threshold is None:
        return []
    verb = "differs" if findings.anomalous else "does not differ"
    where = _attention(findings, ANOMALY) if findings.anomalous else ""
    numbers = f"anomaly score {score:.2f}, flagged from {threshold:.2f}{where}"
    return [f"The ECG as a whole {verb} from normal ECGs beyond the threshold ({numbers})."]


def _attention(findings: Findings, type_code: str) -> str:
    where = places(findings, type_code)
    share = "largest deviation" if type_code == ANOMALY else "model attention strongest"
    return f"; {share} in {where}" if where else ""


def _in_sentence(name: str) -> str:
    return name if name[:2].isupper() else name[0].lower() + name[1:]


def _table(findings: Findings) -> list[str]:
    if not findings.quality.scorable or not findings.types:
        return []
    rows = [(TYPE_NAMES[t.code], t.probability, t.threshold) for t in findings.types]
    if findings.anomaly_score is not None and findings.anomaly_threshold is not None:
        rows.append(("Anomaly score", findings.anomaly_score, findings.anomaly_threshold))
    head = f"{'':<24}{'result':>8}{'threshold':>12}"
    body = [
        f"{name:<24}{value:>8.2f}{threshold:>12.2f}{'  flagged' * (value >= threshold)}"
        for name, value, threshold in rows
    ]
    return [head, *body, ""]


def _strip_lines(strip: StripFindings | None) -> list[str]:
    if strip is None:
        return []
    rhythms = dict.fromkeys(RHYTHM_NAMES[r.code] for r in strip.rhythms)
    return [
        f"Rate      {rate_in_words(strip)}",
        f"Rhythm    {', '.join(rhythms) or 'no finding reached its threshold'}",
        f"Beats     {len(strip.beats)}; ectopic: {ectopy_in_words(strip) or 'none found'}",
        f"Strip     {strip.model.name} {strip.model.version}, leads {', '.join(strip.leads)}",
        "",
    ]
