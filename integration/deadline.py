"""One deadline for all that is done about one report, however many steps it takes."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ADDRESSES = 3
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


def connect_s() -> float:
    """Return how many seconds one address may take: a name may have a few, tried one by one.

    Raises:
        TimeoutError: as `left_s`.
    """
    return left_s() / _ADDRESSES
