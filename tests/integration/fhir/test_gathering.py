"""What may be stored together, and how far that brings the reader."""

from datetime import UTC, datetime, timedelta

from integration.fhir.gathering import Gathering, updated_at

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATE = NOON + timedelta(hours=1)


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def part(id_, seconds, ecg="a", **changes):
    made = {"id": id_, "subject": {"reference": "Patient/1"}, "effectiveDateTime": ecg}
    return made | {"meta": {"lastUpdated": at(seconds).isoformat()}} | changes


def gathering(*parts, now=LATE):
    made = Gathering(timedelta(seconds=5))
    for one in parts:
        made.add(one, now)
    return made


def ids(parts):
    return [one["id"] for one in parts]


def test_all_that_has_settled_is_given_at_the_end():
    found = gathering(part("1", 0), part("2", 1))
    assert ids(found.rest()) == ["1", "2"]
    assert (found.reached, found.unsettled, len(found)) == (at(1), False, 0)


def test_what_is_fresh_waits_and_what_belongs_to_it():
    found = gathering(part("1", 0, "a"), part("2", 10, "b"), part("3", 17, "b"), now=at(20))
    assert ids(found.rest()) == ["1"]
    assert found.unsettled
    assert found.reached == at(0)


def test_all_is_fresh():
    found = gathering(part("1", 18), now=at(20))
    assert found.rest() == []
    assert (found.reached, found.unsettled) == (None, True)


def test_an_ecg_on_two_pages_is_not_torn():
    found = gathering(part("1", 0, "a"), part("2", 8, "b"), part("3", 10, "c"))
    assert ids(found.complete()) == ["1"]
    assert found.reached == at(0)
    found.add(part("4", 12, "b"), LATE)
    assert ids(found.rest()) == ["2", "3", "4"]
    assert found.reached == at(12)


def test_a_part_from_before_waits_for_the_later_ones():
    found = gathering(part("1", 0, "a"), part("2", 1, "b"), part("3", 10, "a"))
    assert ids(found.complete()) == ["2"]
    assert found.reached == at(0)  # the first one is still to come


def test_many_of_one_time():
    found = gathering(part("1", 0, "a"), part("2", 0, "b"), part("3", 0, "b"))
    assert ids(found.complete()) == ["1"]
    only = gathering(part("1", 0, "a"), part("2", 0, "a"))
    assert ids(only.complete()) == ["1", "2"]  # rather than to wait without an end


def test_what_has_no_time_is_its_own():
    bare = {"effectiveDateTime": None}
    found = gathering(part("1", 0, **bare), part("2", 18, **bare), now=at(20))
    assert ids(found.rest()) == ["1"]


def test_a_server_that_does_not_sort_moves_nothing_before_the_end():
    found = gathering(part("1", 30, "a"), part("2", 0, "b"), part("3", 60, "c"))
    assert ids(found.complete()) == ["1", "2"]
    assert found.reached is None
    assert ids(found.rest()) == ["3"]
    assert found.reached == at(60)


def test_without_lastupdated():
    found = gathering(part("1", 0, meta={}), part("2", 1, "b"))
    assert ids(found.complete()) == ["1"]
    assert found.reached is None
    assert ids(found.rest()) == ["2"]
    assert found.reached == at(1)


def test_updated_at():
    assert updated_at(part("1", 3)) == at(3)
    for meta in (None, {}, {"lastUpdated": 5}, {"lastUpdated": "x"}, {"lastUpdated": "2026-03-01"}):
        assert updated_at({"meta": meta}) is None
