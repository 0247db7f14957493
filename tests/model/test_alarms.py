"""Stretches of a rhythm to episodes: raised once, ended once, whatever the windows overlap."""

from datetime import UTC, datetime, timedelta

import pytest

from model.alarms import DEFAULT_RULES, Rule, Stretch, finding_of, follow, lost, stretches_of
from model.findings import ModelIdentity, RhythmFinding, StripFindings

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("strip", "1", "ab" * 32)
RULES = {"AF": Rule(min_s=30.0, quiet_s=60.0), "pause": Rule(), "bradycardia": Rule(level=40.0)}


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def core(n):
    return at(10 * n), at(10 * n + 10)


def af(n, value=0.9):
    """Fibrillation all over a core."""
    return Stretch("AF", *core(n), value, 0.5)


def watched(shown, *, readable=lambda n: True, rules=RULES):
    """Follow windows 0, 1, ...; return every course that ended, and the open ones."""
    courses, ended = (), []
    for n, stretches in enumerate(shown):
        found = follow(courses, stretches, core(n), rules, readable=readable(n))
        courses = tuple(c for c in found if c.ended is None)
        ended += [c for c in found if c.ended is not None]
    return ended, courses


def test_an_hour_of_fibrillation_is_one_episode():
    shown = [[af(n)] if 3 <= n < 363 else [] for n in range(380)]
    (episode,), open_ = watched(shown)
    assert open_ == ()
    assert (episode.onset, episode.last_seen) == (at(30), at(3630))
    assert (episode.ended, episode.seen_s) == ("over", 3600)
    assert finding_of(episode).duration_s == 3600


def test_it_is_raised_after_its_time_and_not_before():
    _, (two,) = watched([[af(0)], [af(1)]])
    assert not two.raised
    _, (three,) = watched([[af(0)], [af(1)], [af(2)]])
    assert three.raised


def test_what_is_short_is_forgotten():
    ended, open_ = watched([[af(0)], [af(1)], [], [], [af(4)]])
    assert [c.ended for c in ended] == ["forgotten"]
    assert [(c.onset, c.raised) for c in open_] == [(at(40), False)]


def test_a_break_shorter_than_the_quiet_time_does_not_end_it():
    shown = [[af(n)] if n < 4 or 8 <= n < 12 else [] for n in range(20)]
    (episode,), _ = watched(shown)
    assert (episode.onset, episode.last_seen, episode.seen_s) == (at(0), at(120), 80)


def test_a_break_longer_than_the_quiet_time_makes_two():
    shown = [[af(n)] if n < 4 or 12 <= n < 16 else [] for n in range(30)]
    ended, _ = watched(shown)
    assert [(c.onset, c.last_seen) for c in ended] == [(at(0), at(40)), (at(120), at(160))]


def test_what_cannot_be_read_neither_ends_it_nor_goes_on_for_ever():
    shown = [[af(n)] if n < 4 else [] for n in range(20)]
    ended, (episode,) = watched(shown, readable=lambda n: n < 4)
    assert (ended, episode.ended, episode.quiet_s) == ([], None, 0)
    (episode,), open_ = watched([*shown, *([[]] * 20)], readable=lambda n: n < 4)
    assert (episode.ended, episode.last_seen, open_) == ("signal-lost", at(40), ())


def test_overlapping_windows_see_one_pause_once():
    pause = Stretch("pause", at(9), at(12.5), 3.5, 3.0)
    (episode,), open_ = watched([[pause], [pause], *([[]] * 8)])
    assert (open_, episode.seen_s, episode.extreme) == ((), 3.5, 3.5)


def test_the_gravest_value_is_told_of_bradycardia_the_lowest():
    shown = [[Stretch("bradycardia", *core(n), value, 50)] for n, value in enumerate([39, 31, 36])]
    _, (episode,) = watched(shown)
    assert episode.extreme == 31
    assert watched([[Stretch("bradycardia", *core(0), 45, 50)]]) == ([], ())


def test_what_was_critical_once_stays_so():
    pauses = [Stretch("pause", at(n), at(n + 4), 4.0, 3.0, critical=n == 12) for n in (2, 12, 22)]
    _, (first,) = watched([pauses[:1]])
    assert not finding_of(first).critical
    _, (course,) = watched([[pause] for pause in pauses])
    assert finding_of(course).critical


def test_a_rhythm_without_a_rule_alarms_nobody():
    assert watched([[af(0)], [af(1)], [af(2)], [af(3)]], rules={}) == ([], ())


def test_a_silent_stream_ends_what_is_open():
    _, open_ = watched([[af(0)], [af(1)], [af(2)]])
    assert [c.ended for c in lost(open_)] == ["signal-lost"]


def test_what_a_window_shows():
    strip = StripFindings(
        MODEL,
        ("II",),
        80.0,
        (),
        (RhythmFinding("AF", 0.0, 20.0, 0.9, 0.5), RhythmFinding("pause", 1.0, 4.5, 3.5, 3.0)),
        (),
    )
    found = stretches_of(strip, at(0), (at(5), at(15)))
    assert [(s.code, s.start, s.end) for s in found] == [
        ("pause", at(1), at(4.5)),
        ("AF", at(5), at(15)),
    ]
    assert stretches_of(None, at(0), (at(5), at(15))) == ()
    urgent = stretches_of(strip, at(0), (at(5), at(15)), strip.rhythms[1:])
    assert [s.critical for s in urgent] == [True, False]


@pytest.mark.parametrize("code", DEFAULT_RULES)
def test_the_default_rules_let_an_episode_end(code):
    assert 0 <= DEFAULT_RULES[code].min_s <= DEFAULT_RULES[code].quiet_s
