import logging
from collections import namedtuple

import pytest

from db import room
from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.records import MessageState
from db.room import Limits, Room

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free bytes a test sets, and a clock that it moves."""
    state = {"free": 100, "now": 0.0}
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: Usage(100, 0, state["free"]))
    monkeypatch.setattr(room.time, "monotonic", lambda: state["now"])
    return state


def test_below_the_watermark_nothing_is_taken_and_above_it_again(disk, tmp_path, caplog):
    checked = Room(Limits(50, 10), tmp_path, lambda: 0)
    checked.check()
    disk.update(free=9, now=4.0)
    checked.check()  # it looks every five seconds
    disk["now"] = 5.0
    with pytest.raises(StoreUnavailable, match="only 9 bytes") as raised:
        checked.check()
    assert raised.value.reason == "store-full"
    assert caplog.records[-1].levelno == logging.ERROR
    disk.update(free=90, now=10.0)
    checked.check()


def test_scarcity_is_told_once_in_a_while(disk, tmp_path, caplog):
    checked = Room(Limits(50, 10), tmp_path, lambda: 0)
    disk["free"] = 40
    for now in (0.0, 10.0, 599.0, 700.0):
        disk["now"] = now
        checked.check()
    assert [r.levelno for r in caplog.records] == [logging.WARNING] * 2


@pytest.mark.parametrize(("size", "full", "told"), [(80, False, 0), (95, False, 1), (101, True, 1)])
def test_a_database_elsewhere_has_a_size(disk, caplog, size, full, told):
    checked = Room(Limits(50, 10, max_database_bytes=100), None, lambda: size)
    if full:
        with pytest.raises(StoreUnavailable, match="101 bytes"):
            checked.check()
    else:
        checked.check()
    assert len(caplog.records) == told


def test_a_full_store_takes_nothing_and_goes_on_with_what_it_has(
    store, received, message, assessment, tmp_path
):
    exam_id = received("before")
    store.limit(Room(Limits(2**62, 2**62), tmp_path, store.database_bytes))
    with pytest.raises(StoreUnavailable, match="store-full"):
        store.accept(Incoming(message("after"), MessageState.NOT_ECG, None, b"AA"))
    assert store.save_assessment(exam_id, assessment()) == ()
