"""One deadline for all that is done about one report, however many steps it takes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)  # of time.monotonic


@contextmanager
def all_within(limit_s: float) -> Iterator[None]:
    """Give all steps of a block so many seconds together, and no more than a block around it has.

    A step asks `left_s` how long it may take.
    """
    outer = _deadline.set(min(_deadline.get(), time.monotonic() + limit_s))
    try:
        yield
    finally:
        _deadline.reset(outer)


def left_s() -> float:
    """Return how many seconds are left; math.inf outside of any block.

    Raises:
        TimeoutError: none is.
    """
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError("the steps before took all the time there is")
    return left
