"""Rhythm findings of a stream's windows -> episodes: one for an hour of fibrillation, not 360.

No I/O, no clock of its own. What a window shows of a rhythm is a stretch of time (`stretches_of`);
stretches of one rhythm make an episode (`follow`):

- A stretch begins an episode, or goes on with the one that is open: overlapping windows see the
  same beats twice, and a finding that comes back within `quiet_s` has not ended.
- An episode is raised once it has been seen for `min_s` in all. Until then it tolerates a break of
  `PENDING_BREAK_S` and is forgotten after a longer one.
- It is critical once a stretch of it was, and stays so.
- A raised episode ends once `quiet_s` of readable signal have passed without it. What cannot be
  read neither goes on with an episode nor ends it; after `LOST_S` without a word of it the episode
  ends where it was last seen, and it is told that the signal was lost.

Which findings alarm by default, from what on, and why:

| finding            | raised                       | ends after | source                          |
|--------------------|------------------------------|------------|---------------------------------|
| AF                 | after 30 s                   | 60 s       | ESC 2020 on AF, section 3.2     |
| ventricular-run    | at once, from 3 beats        | 60 s       | AHA 2017 practice standards     |
| pause              | at once, from 3 s            | 60 s       | ACC/AHA/HRS 2018 on bradycardia |
| bradycardia        | below 40/min, after 30 s     | 60 s       | own choice; in sleep below 50   |
| tachycardia        | above 130/min, after 60 s    | 60 s       | own choice; walking exceeds 100 |

AHA: Sandau et al., Circulation 136:e273 (2017): fibrillation, ventricular runs and pauses are
worth an alarm; limits of rate should be set so wide that what is told is acted on. Short
supraventricular runs are common and harmless: they stay in the windows.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model.findings import EpisodeFinding, RhythmFinding, StripFindings

PENDING_BREAK_S = 10.0
LOST_S = 300.0

_BELOW = frozenset(["bradycardia"])  # the lower, the graver
_WHOLE = frozenset(["AF"])  # told of a window as a whole


@dataclass(frozen=True)
class Rule:
    """When a finding alarms.

    Attributes:
        min_s: it has to be seen for so long.
        quiet_s: and is over after so long without it.
        level: its value has to reach this; of bradycardia at most this; None: any.
    """

    min_s: float = 0.0
    quiet_s: float = 60.0
    level: float | None = None


DEFAULT_RULES: Mapping[str, Rule] = {
    "AF": Rule(min_s=30.0),
    "ventricular-run": Rule(),
    "pause": Rule(),
    "bradycardia": Rule(min_s=30.0, level=40.0),
    "tachycardia": Rule(min_s=60.0, level=130.0),
}


@dataclass(frozen=True)
class Stretch:
    """A rhythm from one moment to another, as one window shows it; as RhythmFinding, but aware.

    Attributes:
        critical: whether somebody has to be told of it at once.
    """

    code: str
    start: datetime
    end: datetime
    value: float
    threshold: float
    critical: bool = False


@dataclass(frozen=True)
class Course:
    """An episode so far.

    Attributes:
        code: one of RHYTHM_NAMES.
        begun: where the stretch began that it was first seen by, aware; it never changes.
        onset: where the first stretch begins; a later window may see it earlier.
        last_seen: where the last one ends.
        seen_s: how long it was seen in all.
        quiet_s: readable signal since `last_seen` without it.
        extreme: the highest value, or the lowest of bradycardia.
        threshold: what the values were held against.
        raised: whether it is told.
        ended: None while it goes on; `over`, `signal-lost`, or, never raised, `forgotten`.
        critical: whether a stretch of it was.
    """

    code: str
    begun: datetime
    onset: datetime
    last_seen: datetime
    seen_s: float
    quiet_s: float
    extreme: float
    threshold: float
    raised: bool = False
    ended: str | None = None
    critical: bool = False


def finding_of(course: Course) -> EpisodeFinding:
    """Return what a report says of an episode."""
    return EpisodeFinding(
        course.code,
        course.onset,
        course.last_seen,
        course.ended,
        course.extreme,
        course.threshold,
        course.critical,
    )


def stretches_of(
    strip: StripFindings | None,
    start: datetime,
    core: tuple[datetime, datetime],
    critical: Container[RhythmFinding] = (),
) -> tuple[Stretch, ...]:
    """Return what a window shows, in order of time.

    Args:
        strip: what was found, or None where nothing could be read.
        start: of its first sample.
        core: what the window answers for. Beats have their own times; a finding on the window as a
            whole, fibrillation, stands for the core alone.
        critical: which of the rhythms somebody has to be told of at once.
    """
    if strip is None:
        return ()
    found = []
    for rhythm in strip.rhythms:
        began, ended = (start + timedelta(seconds=s) for s in (rhythm.start_s, rhythm.end_s))
        if rhythm.code in _WHOLE:
            began, ended = max(began, core[0]), min(ended, core[1])
        if began < ended:
            measured = (rhythm.value, rhythm.threshold, rhythm in critical)
            found.append(Stretch(rhythm.code, began, ended, *measured))
    return tuple(sorted(found, key=lambda s: (s.start, s.code)))


def follow(
    courses: Sequence[Course],
    stretches: Iterable[Stretch],
    core: tuple[datetime, datetime],
    rules: Mapping[str, Rule],
    *,
    readable: bool,
) -> tuple[Course, ...]:
    """Return the episodes after one more window: those that were open, and new ones.

    Args:
        courses: the open episodes of a stream; at most one of a code.
        stretches: what the window shows.
        core: what it answers for.
        rules: code -> rule; a finding without a rule does not alarm.
        readable: whether the window could be read.
    """
    open_ = {course.code: course for course in courses}
    closed: list[Course] = []
    seen: set[str] = set()
    for stretch in stretches:
        rule = rules.get(stretch.code)
        if rule is None or not _reaches(stretch, rule):
            continue
        course = open_.get(stretch.code)
        if course is not None and not _goes_on(course, stretch, rule):
            closed.append(_ended(course, "over" if course.raised else "forgotten"))
            course = None
        if course is None or stretch.end > course.last_seen:
            seen.add(stretch.code)
        open_[stretch.code] = _extended(course or _begun(stretch), stretch, rule)
    passed_s = (core[1] - core[0]).total_seconds() if readable else 0.0
    for code, course in open_.items():
        aged = course if code in seen else replace(course, quiet_s=course.quiet_s + passed_s)
        closed.append(_aged(aged, core[1], rules.get(code, Rule())))
    return tuple(closed)


def lost(courses: Iterable[Course]) -> tuple[Course, ...]:
    """Return the open episodes of a stream that is silent for good, ended."""
    return tuple(_ended(c, "signal-lost" if c.raised else "forgotten") for c in courses)


def _reaches(stretch: Stretch, rule: Rule) -> bool:
    if rule.level is None:
        return True
    below = stretch.code in _BELOW
    return stretch.value <= rule.level if below else stretch.value >= rule.level


def _goes_on(course: Course, stretch: Stretch, rule: Rule) -> bool:
    break_s = (stretch.start - course.last_seen).total_seconds()
    if not course.raised:
        return break_s <= PENDING_BREAK_S
    return break_s <= LOST_S and course.quiet_s < rule.quiet_s


def _begun(stretch: Stretch) -> Course:
    at = stretch.start
    return Course(stretch.code, at, at, at, 0.0, 0.0, stretch.value, stretch.threshold)


def _extended(course: Course, stretch: Stretch, rule: Rule) -> Course:
    new_s = (stretch.end - max(stretch.start, course.last_seen)).total_seconds()
    seen_s = course.seen_s + max(new_s, 0.0)
    graver = min if stretch.code in _BELOW else max
    return replace(
        course,
        onset=min(course.onset, stretch.start),
        last_seen=max(course.last_seen, stretch.end),
        seen_s=seen_s,
        quiet_s=0.0 if new_s > 0 else course.quiet_s,
        extreme=graver(course.extreme, stretch.value),
        raised=course.raised or seen_s >= rule.min_s,
        critical=course.critical or stretch.critical,
    )


def _aged(course: Course, looked_to: datetime, rule: Rule) -> Course:
    since_s = (looked_to - course.last_seen).total_seconds()
    if not course.raised:
        return _ended(course, "forgotten") if since_s > PENDING_BREAK_S else course
    if since_s > 0 and course.quiet_s >= rule.quiet_s:
        return _ended(course, "over")
    return _ended(course, "signal-lost") if since_s > LOST_S else course


def _ended(course: Course, how: str) -> Course:
    return replace(course, ended=how)
