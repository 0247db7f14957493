"""Waiting for what a thread or a process does: a look now and then, and time for any machine."""

import time

import pytest

# Ends a test that would hang; where all is well nobody waits for so long.
PATIENCE_S = 300


def wait_for(condition, what, pause_s=0.02):
    """Return the first true value of `condition()`."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(pause_s)
    return pytest.fail(f"waited {PATIENCE_S} s for {what}")
