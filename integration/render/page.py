"""Where everything stands on the page.

Twelve leads of 10 s: the usual three rows of four leads, 2.5 s each, over a rhythm strip of 10 s.
Anything else, a shorter one too: strips of 10 s, lead after lead. Attended stretches are black bars
with the finding's code: they need no colour, and stand below the trace.
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
    reviewed_in_words,
    stretch_in_words,
    value_in_words,
)
from integration.render.shapes import Bar, Grid, Shape, Text, Trace
from integration.render.trace import MM_PER_MV, MM_PER_S, traces
from model.ecg import LEADS_12, Ecg
from model.findings import (
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
_LEFT, _RIGHT, _TOP, _ROW_MM = 13.0, 150.0, 38.0, 30.0
_START = _LEFT + 15.0  # of the traces; the pulse stands before them
_REACH = 19.0  # a tall R wave may enter the next row, not leave it
_BAR_MM, _LEVEL_MM = 1.2, 2.2  # a level a finding
_BARS_MM, _LOWEST_BAR_MM = 11.0, 13.5  # below the baseline; many levels begin higher up
_LINE_MM, _LINES = 3.3, 10  # of the findings, above the notes
_LABEL_CHARACTERS = 110  # of the size it has; a name may be long
_FLAGGED = "FLAGGED"

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
        return _TOP + _ROW_MM * (self.row + 0.5)


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
        grid = Grid(_LEFT, _TOP, 270, round(ROWS * _ROW_MM))
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
    if cell.lead in faults:
        label += f" ({faults[cell.lead].replace('-', ' ')}: not used)"
    if cell.strip and cell.start_s > 0:
        label += f"  {cell.start_s:.0f} s"
    yield Text(cell.x + 1.0, cell.y - 10.5, 3.2, label, bold=True)
    if cell.lead in ecg.leads:
        rate = ecg.sampling_rate_hz
        shown = slice(round(cell.start_s * rate), round(cell.end_s * rate))
        yield from traces(ecg.lead(cell.lead)[shown], rate, cell.x, cell.y, _REACH)
    yield from _marks(findings, cell)


def _marks(findings: Findings, cell: _Cell) -> Iterator[Shape]:
    """Draw bars under the stretches that speak for a flagged finding, and letters over ectopy."""
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
        for beat in findings.strip.beats:
            if beat.aami_class in "SVF" and cell.start_s <= beat.time_s < cell.end_s:
                x = cell.x + (beat.time_s - cell.start_s) * MM_PER_S
                yield Text(x - 0.8, cell.y - 13.0, 2.8, beat.aami_class, bold=True)


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
        y = _TOP + _ROW_MM * (row + 0.5)
        corners = [(2, 0), (4, 0), (4, up), (4 + wide, up), (4 + wide, 0), (6 + wide, 0)]
        points = [[_LEFT + x, y - height] for x, height in corners]
        yield Trace(np.rint(np.array(points) * 100).astype(np.int32), 0.3)


def _head(assessed: Assessed, page: str) -> Iterator[Shape]:
    exam, findings = assessed.exam, assessed.findings
    yield Text(_LEFT, 13.0, 4.6, heading(assessed.status), bold=True)
    label = reviewed_in_words(assessed.status, assessed.review)
    yield Text(_LEFT, 18.5, 3.4, label[:_LABEL_CHARACTERS], bold=True)
    authority = f" ({exam.patient.authority})" if exam.patient.authority else ""
    left = (
        ("Patient", f"{exam.patient.identifier}{authority}"),
        ("Recorded", moment_in_words(exam.acquired)),
        ("Order", exam.placer_order or exam.filler_order or "-"),
    )
    issued = moment_in_words(assessed.issued_at)
    right = (("Issued", issued), ("Exam", str(exam.id)), ("Page", page))
    for x, column in ((_LEFT, left), (_RIGHT, right)):
        for n, (name, value) in enumerate(column):
            yield Text(x, 24.0 + 4.2 * n, 3.0, name, ink="grey")
            yield Text(x + 18.0, 24.0 + 4.2 * n, 3.0, value)
    if findings.strip:
        yield Text(_RIGHT, 13.0, 3.4, f"Heart rate {rate_in_words(findings.strip)}", bold=True)


def _foot(findings: Findings, ecg: Ecg, shown_s: float) -> Iterator[Shape]:
    top = _TOP + ROWS * _ROW_MM + 4.5
    scale = f"{MM_PER_S:g} mm/s   {MM_PER_MV:g} mm/mV   {ecg.sampling_rate_hz:g} Hz   unfiltered"
    if shown_s < ecg.duration_s:
        scale += f"   the first {shown_s:.0f} s of {ecg.duration_s:.0f} s are shown"
    yield Text(_LEFT, top, 2.6, scale, ink="grey")
    for n, (name, result, threshold, where) in enumerate(_rows(findings)):
        y = top + 4.6 + _LINE_MM * n
        flagged = threshold.startswith(_FLAGGED)
        yield Text(_LEFT, y, 3.0, name, bold=flagged)
        yield Text(_LEFT + 52, y, 3.0, result, bold=flagged)
        yield Text(_LEFT + 66, y, 3.0, threshold, bold=flagged)
        yield Text(_LEFT + 106, y, 2.6, where)
    yield from _notes(findings)


def _rows(findings: Findings) -> list[_Row]:
    rows = [_episode_row(findings.episode)] if findings.episode else []
    if not findings.quality.scorable:
        return [*rows, ("Could not be analysed", "", "", quality_in_words(findings.quality))]
    rows += _type_rows(findings)
    if findings.strip:
        rows += _strip_rows(findings.strip, _LINES - len(rows))
    return rows


def _episode_row(episode: EpisodeFinding) -> _Row:
    return RHYTHM_NAMES[episode.code], "", _FLAGGED, f"episode {episode_in_words(episode)}"


def _type_rows(findings: Findings) -> Iterator[_Row]:
    for t in findings.types:
        where = places(findings, t.code) if t.flagged else ""
        said = f"{_FLAGGED if t.flagged else 'below'} (from {t.threshold:.2f})"
        yield TYPE_NAMES[t.code], f"{t.probability:.2f}", said, where
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
    said = f"Quality: {quality_in_words(findings.quality)}.   Model: {', '.join(models)}"
    yield Text(
        _LEFT, 200.0, 2.5, said, ink="grey" if findings.quality.verdict == "good" else "black"
    )
    caveat = f"Bars: stretches that speak for a flagged finding. {CAVEAT}"
    yield Text(_LEFT, 203.4, 2.5, caveat, ink="grey")
