"""CPU time, so that other work on the machine does not count."""

import statistics
import time
from collections.abc import Callable


def median_ms(function: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of `repeats` runs after a first that does not count."""
    function()
    times_ms = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times_ms.append((time.process_time() - start) * 1e3)
    return statistics.median(times_ms)
