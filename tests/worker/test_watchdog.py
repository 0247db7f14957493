import subprocess
import sys

import pytest

from tests.patience import PATIENCE_S
from worker import watchdog
from worker.watchdog import EXIT_STUCK, Watchdog

STUCK = """
import threading
from worker.watchdog import Watchdog
watchdog = Watchdog(0.2)
watchdog.start()
with watchdog.watch():
    threading.Event().wait()
"""


def test_a_stuck_task_ends_the_process():
    done = subprocess.run([sys.executable, "-c", STUCK], check=False, timeout=PATIENCE_S)
    assert done.returncode == EXIT_STUCK


class Ended(BaseException):
    """The process, or the test's time."""


class Clock:
    """Time that passes while somebody sleeps."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.now > 1000:
            raise Ended


@pytest.fixture
def exits(monkeypatch):
    """When the process would have ended."""
    clock, exits = Clock(), []

    def end(_code):
        exits.append(clock.now)
        raise Ended

    monkeypatch.setattr(watchdog, "time", clock)
    monkeypatch.setattr(watchdog.os, "_exit", end)
    return exits


def test_it_ends_when_a_task_takes_longer_than_its_limit(exits):
    dog = Watchdog(60)
    with dog.watch(), pytest.raises(Ended):
        dog.run()
    assert exits == [61]


def test_what_is_done_is_watched_no_longer(exits):
    dog = Watchdog(60)
    with dog.watch():
        pass
    with pytest.raises(Ended):
        dog.run()
    assert exits == []
