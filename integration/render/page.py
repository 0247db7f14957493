"""Where everything stands on the page.

Twelve leads of 10 s: the usual three rows of four leads, 2.5 s each, over a rhythm strip of 10 s.
Anything else, a shorter one too: strips of 10 s, lead after lead. Attended stretches are black bars
with the finding's code: they need no colour, and stand below the trace.

As on a cart's paper a wave may reach into the rows above and below. What is taller than the paper
is cut off, and the lead says how tall it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from db.records import Assessed
from integration.fhir.wording import (
    CAVEAT,
    by_gravity,
    ectopy_in_words,
    episode_in_words,
    heading,
    moment_in_words,
    places,
    quality_in_words,
    rate_in_words,
    reason_in_words,
    reviewed_in_words,
    stretch_in_words,
    value_in_words,
)
from integration.render.shapes import Bar, Grid, Ink, Shape, Text, Trace
from integration.render.trace import MM_PER_MV, MM_PER_S, cut_off_mv, traces
from model.ecg import LEADS_12, Ecg
from model.findings import (
    ABNORMALITY_TYPES,
    RHYTHM_NAMES,
    TYPE_NAMES,
    EpisodeFinding,
    Findings,
    Interval,
    StripFindings,
)

ROW_S, COLUMN_S = 10.0, 2.5
_MIN_USUAL_S, _MAX_USUAL_S = ROW_S - 0.5, ROW_S + 1.0  # a shorter one leaves columns empty
ROWS = 4  # of a page
MAX_SHEETS = 6
_COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
_MIN_LEADS = 6  # with fewer, most of the usual page would be empty
_LEFT, _MIDDLE, _RIGHT = 13.0, 122.0, 205.0  # where the columns of the head begin
_TOP, _BOTTOM = 33.0, 163.0  # of the grid
_FIRST, _ROW_MM = 58.0, 30.0  # baseline of the first row, and from one to the next
_MODELS = 170.0  # beside the scale
_START = _LEFT + 15.0  # of the traces; the pulse stands before them
_HIGHEST, _LOWEST = 31.0, 164.5  # between head and findings waves may be as tall as they are
_FAULTY_REACH = 9.0, 15.0  # noise of a lead that is not used hides neither label nor neighbours
_BAR_MM, _LEVEL_MM = 1.2, 2.2  # a level a finding
_BARS_MM, _LOWEST_BAR_MM = 11.0, 13.5  # below the baseline; many levels begin higher up
_LINE_MM, _LINES = 3.05, 10  # of the findings, above the notes
# Characters that find room, were all of them capitals; an identifier has up to 250.
_LABEL_ROOM, _CONCLUSION_ROOM, _PATIENT_ROOM, _ORDER_ROOM = 110, 120, 44, 28
_QUALITY_ROOM, _MODELS_ROOM = 220, 75  # the leads' faults stand at the leads, too
_FLAGGED, _NOT_ASSESSED = "FLAGGED", "not assessed"

_Row = tuple[str, str, str, str]  # name, result, against which threshold, and where


@dataclass(frozen=True)
class Sheet:
    """One page."""

    shapes: tuple[Shape, ...] = field(repr=False)


@dataclass(frozen=True)
class _Cell:
    """A lead from `start_s` to `end_s`, drawn in `row` from `x` on; `ecg` has it or not.

    `marked` are the leads whose findings it shows.
    """

    lead: str
    start_s: float
    end_s: float
    row: int
    x: float
    marked: tuple[str, ...]
    strip: bool = False  # whether it shows beats, and says when it begins

    @property
    def y(self) -> float:
        """Height of the baseline."""
        return _FIRST + _ROW_MM * self.row


def sheets(assessed: Assessed) -> tuple[Sheet, ...]:
    """Return the pages of a version of a report, the first with the findings."""
    exam, findings = assessed.exam, assessed.findings
    cells = list(_cells(exam.ecg))
    count = min(max(cell.row for cell in cells) // ROWS + 1, MAX_SHEETS)
    shown_s = max(cell.end_s for cell in cells if cell.row < count * ROWS)
    made = []
    for n in range(count):
        mine = [replace(c, row=c.row % ROWS) for c in cells if c.row // ROWS == n]
        head = _head(assessed, f"{n + 1} of {count}")
        body = [shape for cell in mine for shape in _drawn(exam.ecg, findings, cell)]
        foot = _foot(findings, exam.ecg, shown_s) if n == 0 else []
        grid = Grid(_LEFT, _TOP, 270, round(_BOTTOM - _TOP))
        made.append(Sheet((grid, *head, *_pulses(), *body, *foot)))
    return tuple(made)


def _cells(ecg: Ecg) -> Iterator[_Cell]:
    if len(ecg.leads) >= _MIN_LEADS and _MIN_USUAL_S <= ecg.duration_s <= _MAX_USUAL_S:
        for column, leads in enumerate(_COLUMNS):
            x = _START + column * COLUMN_S * MM_PER_S
            for row, lead in enumerate(leads):
                yield _Cell(lead, column * COLUMN_S, (column + 1) * COLUMN_S, row, x, (lead,))
        rhythm = next(lead for lead in ("II", "I", *LEADS_12) if lead in ecg.leads)
        yield _Cell(rhythm, 0.0, ROW_S, 3, _START, LEADS_12, strip=True)
        return
    # The first lead also shows what was found in leads that were calculated, not recorded.
    calculated = tuple(lead for lead in LEADS_12 if lead not in ecg.leads)
    marked = {lead: (lead,) for lead in ecg.leads} | {ecg.leads[0]: (ecg.leads[0], *calculated)}
    starts = np.arange(0.0, ecg.duration_s, ROW_S).tolist()
    for row, (start, lead) in enumerate(product(starts, ecg.leads)):
        yield _Cell(lead, start, start + ROW_S, row, _START, marked[lead], strip=True)


def _drawn(ecg: Ecg, findings: Findings, cell: _Cell) -> Iterator[Shape]:
    faults = {fault.lead: fault.reason for fault in findings.quality.lead_faults}
    label = cell.lead if cell.lead in ecg.leads else f"{cell.lead} not recorded"
    reach = cell.y - _HIGHEST, _LOWEST - cell.y
    if cell.lead in faults:
        label += f" ({reason_in_words(faults[cell.lead])}: not used)"
        reach = _FAULTY_REACH
    if cell.strip and cell.start_s > 0:
        label += f"  {cell.start_s:.0f} s"
    if cell.lead in ecg.leads:
        rate = ecg.sampling_rate_hz
        shown = ecg.lead(cell.lead)[round(cell.start_s * rate) : round(cell.end_s * rate)]
        yield from traces(shown, rate, cell.x, cell.y, reach)
        if cell.lead not in faults and (peaks := cut_off_mv(shown, reach)):
            label += f" ({' and '.join(f'{peak:+.1f}' for peak in peaks)} mV: cut off)"
    yield Text(cell.x + 1.0, cell.y - 10.5, 3.2, label, bold=True)
    yield from _marks(findings, cell)


def _marks(findings: Findings, cell: _Cell) -> Iterator[Shape]:
    """Draw bars under the stretches that speak for a flagged finding, and letters over beats."""
    intervals = findings.explanation.intervals if findings.explanation else ()
    shown = [
        i
        for i in _merged(i for i in intervals if i.lead in cell.marked)
        if i.start_s < cell.end_s and cell.start_s < i.end_s
    ]
    levels = list(dict.fromkeys(i.type_code for i in shown))
    top = cell.y + min(_BARS_MM, _LOWEST_BAR_MM - _LEVEL_MM * (len(levels) - 1))
    for interval in shown:
        low, high = max(interval.start_s, cell.start_s), min(interval.end_s, cell.end_s)
        x = cell.x + (low - cell.start_s) * MM_PER_S
        y = top + _LEVEL_MM * levels.index(interval.type_code)
        width = (high - low) * MM_PER_S
        yield Bar(x, y, width, _BAR_MM)
        yield Text(x + width + 0.5, y + 1.4, 2.3, _code(interval.type_code))
    if cell.strip and findings.strip:
        yield from _beats(findings.strip, cell)


def _beats(strip: StripFindings, cell: _Cell) -> Iterator[Shape]:
    """Letter every beat that was read: one without a letter was not, and nothing is said of it."""
    for beat in strip.beats:
        if cell.start_s <= beat.time_s < cell.end_s:
            x = cell.x + (beat.time_s - cell.start_s) * MM_PER_S - 0.8
            normal = beat.aami_class == "N"
            ink: Ink = "grey" if normal else "black"
            yield Text(x, cell.y - 13.8, 2.8, beat.aami_class, bold=not normal, ink=ink)


def _merged(intervals: Iterator[Interval]) -> list[Interval]:
    """Leave one of several that name the same stretch for the same finding in other leads."""
    first: dict[tuple[str, float, float], Interval] = {}
    for interval in intervals:
        first.setdefault((interval.type_code, interval.start_s, interval.end_s), interval)
    return sorted(first.values(), key=lambda i: (i.type_code, i.start_s))


def _code(type_code: str) -> str:
    return "anomaly" if type_code not in TYPE_NAMES else type_code


def _pulses() -> Iterator[Shape]:
    """Draw the calibration pulse of each row: 1 mV for 0.2 s."""
    up, wide = MM_PER_MV, 0.2 * MM_PER_S
    for row in range(ROWS):
        y = _FIRST + _ROW_MM * row
        corners = [(2, 0), (4, 0), (4, up), (4 + wide, up), (4 + wide, 0), (6 + wide, 0)]
        points = [[_LEFT + x, y - height] for x, height in corners]
        yield Trace(np.rint(np.array(points) * 100).astype(np.int32), 0.3)


def _head(assessed: Assessed, page: str) -> Iterator[Shape]:
    exam, findings, review = assessed.exam, assessed.findings, assessed.review
    yield Text(_LEFT, 11.0, 4.6, heading(assessed.status), bold=True)
    if findings.strip:
        yield Text(_MIDDLE, 11.0, 3.4, f"Heart rate {rate_in_words(findings.strip)}", bold=True)
    label = reviewed_in_words(assessed.status, review)
    yield Text(_LEFT, 16.2, 3.4, _fitted(label, _LABEL_ROOM), bold=True)
    if review and (said := " ".join(review.text.split())):
        yield Text(_LEFT, 20.6, 3.0, _fitted(f"Clinician: {said}", _CONCLUSION_ROOM), bold=True)
    authority = f" ({exam.patient.authority})" if exam.patient.authority else ""
    patient = _fitted(f"{exam.patient.identifier}{authority}", _PATIENT_ROOM)
    order = _fitted(exam.placer_order or exam.filler_order or "-", _ORDER_ROOM)
    recorded, issued = moment_in_words(exam.acquired), moment_in_words(assessed.issued_at)
    for x, column in (
        (_LEFT, (("Patient", patient), ("Recorded", recorded))),
        (_MIDDLE, (("Order", order), ("Issued", issued))),
        (_RIGHT, (("Exam", str(exam.id)), ("Page", page))),
    ):
        for n, (name, value) in enumerate(column):
            yield Text(x, 25.2 + 4.2 * n, 3.0, name, ink="grey")
            yield Text(x + (15.0 if x == _LEFT else 11.0), 25.2 + 4.2 * n, 3.0, value)


def _fitted(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 1]}\N{HORIZONTAL ELLIPSIS}"


def _foot(findings: Findings, ecg: Ecg, shown_s: float) -> Iterator[Shape]:
    top = _BOTTOM + 3.6
    scale = f"{MM_PER_S:g} mm/s   {MM_PER_MV:g} mm/mV   {ecg.sampling_rate_hz:g} Hz   unfiltered"
    if shown_s < ecg.duration_s:
        scale += f"   the first {shown_s:.0f} s of {ecg.duration_s:.0f} s are shown"
    yield Text(_LEFT, top, 2.6, scale, ink="grey")
    for n, (name, result, threshold, where) in enumerate(_rows(findings)):
        y = top + 3.7 + _LINE_MM * n
        flagged = threshold.startswith(_FLAGGED)
        yield Text(_LEFT, y, 2.9, name, bold=flagged)
        yield Text(_LEFT + 52, y, 2.9, result, bold=flagged)
        yield Text(_LEFT + 66, y, 2.9, threshold, bold=flagged)
        yield Text(_LEFT + 106, y, 2.6, where)
    yield from _notes(findings)


def _rows(findings: Findings) -> list[_Row]:
    rows = [_episode_row(findings.episode)] if findings.episode else []
    if not findings.quality.scorable:
        why = ", ".join(map(reason_in_words, findings.quality.reasons))
        return [*rows, ("Could not be analysed", "", "", why)]
    rows += _type_rows(findings)
    if findings.strip:
        return rows + list(_strip_rows(findings.strip, _LINES - len(rows)))
    return [*rows, ("Rhythm", "", _NOT_ASSESSED, "")]


def _episode_row(episode: EpisodeFinding) -> _Row:
    return RHYTHM_NAMES[episode.code], "", _FLAGGED, f"episode {episode_in_words(episode)}"


def _type_rows(findings: Findings) -> Iterator[_Row]:
    told = {t.code: t for t in findings.types}
    if not told:
        yield "Abnormality types of 12 leads", "", _NOT_ASSESSED, ""
    for code in ABNORMALITY_TYPES if told else ():
        name = f"{TYPE_NAMES[code]} ({code})"
        if (t := told.get(code)) is None:
            yield name, "", _NOT_ASSESSED, "these leads cannot carry it"
            continue
        where = places(findings, code) if t.flagged else ""
        said = f"{_FLAGGED if t.flagged else 'below'} (from {t.threshold:.2f})"
        yield name, f"{t.probability:.2f}", said, where
    if findings.anomaly_score is not None and findings.anomaly_threshold is not None:
        where = places(findings, "anomaly") if findings.anomalous else ""
        said = _FLAGGED if findings.anomalous else "below"
        said += f" (from {findings.anomaly_threshold:.2f})"
        yield "Differs from normal ECGs", f"{findings.anomaly_score:.2f}", said, where


def _strip_rows(strip: StripFindings, room: int) -> Iterator[_Row]:
    """Yield a row a rhythm, the gravest first; those that find no room share the last one."""
    ectopy = ectopy_in_words(strip)
    worst = [(mine[0], len(mine) - 1) for mine in by_gravity(strip.rhythms).values()]
    room -= bool(ectopy)
    alone = len(worst) if len(worst) <= room else room - 1
    for rhythm, more in worst[:alone]:
        where = stretch_in_words(rhythm) + (f"; {more} more" if more else "")
        yield RHYTHM_NAMES[rhythm.code], "", _FLAGGED, where
    if others := worst[alone:]:
        told = "; ".join(f"{r.code.replace('-', ' ')} {value_in_words(r)}" for r, _ in others)
        yield "Further rhythm findings", f"{len(others)}", _FLAGGED, told
    if not worst:
        yield "Rhythm", "", "no finding", ""
    if ectopy:
        yield "Ectopic beats", "", _FLAGGED, f"{ectopy}, of {len(strip.beats)} beats"


def _notes(findings: Findings) -> Iterator[Shape]:
    models = dict.fromkeys(
        f"{m.name} {m.version} ({m.sha256[:12]})"
        for m in (findings.model, *((findings.strip.model,) if findings.strip else ()))
    )
    quality = f"Quality: {quality_in_words(findings.quality)}."
    ink: Ink = "grey" if findings.quality.verdict == "good" else "black"
    yield Text(_LEFT, 201.4, 2.5, _fitted(quality, _QUALITY_ROOM), ink=ink)
    marks = "Bars: stretches that speak for a flagged finding. "
    if findings.strip:
        marks += "Letters: the beats that were read. "
    yield Text(_LEFT, 204.6, 2.5, f"{marks}{CAVEAT}", ink="grey")
    model = _fitted(f"Model: {', '.join(models)}", _MODELS_ROOM)
    yield Text(_MODELS, _BOTTOM + 3.6, 2.6, model, ink="grey")
