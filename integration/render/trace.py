"""Samples to points on paper: 25 mm/s, 10 mm/mV, thinned to what a tenth of a millimetre shows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from integration.render.shapes import Trace

MM_PER_S, MM_PER_MV = 25.0, 10.0
_UNIT = 100  # of Trace, a millimetre
Reach = tuple[float, float]  # above and below a baseline, in millimetres
_COLUMN_S = 0.1 / MM_PER_S


def traces(
    voltage_mv: NDArray[np.float32], rate_hz: float, x_mm: float, y_mm: float, reach_mm: Reach
) -> Iterator[Trace]:
    """Yield the lines of one lead; a gap (NaN) ends a line.

    Args:
        voltage_mv: `(n_samples,)`.
        rate_hz: its rate.
        x_mm: of the first sample.
        y_mm: of the baseline, which is the median of what is drawn.
        reach_mm: above and below the baseline; what lies further from it is drawn there.
    """
    centred = _centred(voltage_mv)
    there = np.isfinite(centred)
    height = np.clip(centred * MM_PER_MV, -reach_mm[1], reach_mm[0])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]])))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        at, value = _thinned(height[first:end], rate_hz)
        x = x_mm + (first + at) / rate_hz * MM_PER_S
        points = np.stack([x, y_mm - value], axis=1) * _UNIT
        yield Trace(np.rint(points).astype(np.int32))


def cut_off_mv(voltage_mv: NDArray[np.float32], reach_mm: Reach) -> tuple[float, ...]:
    """Return the peaks that `traces` cuts off, above and below, from the baseline."""
    centred = _centred(voltage_mv)
    there = centred[np.isfinite(centred)]
    if not there.size:
        return ()
    high, low = float(there.max()), float(there.min())
    above, below = (reach / MM_PER_MV for reach in reach_mm)
    return (high,) * (high > above) + (low,) * (low < -below)


def _centred(voltage_mv: NDArray[np.float32]) -> NDArray[np.float32]:
    there = voltage_mv[np.isfinite(voltage_mv)]
    return voltage_mv - np.median(there) if there.size else voltage_mv


def _thinned(
    height: NDArray[np.float64], rate_hz: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Keep the lowest and the highest sample of each tenth of a millimetre, in their order."""
    column = int(_COLUMN_S * rate_hz)
    if column < 3:
        return np.arange(len(height)), height
    whole = len(height) // column * column
    blocks = height[:whole].reshape(-1, column)
    ends = np.sort(np.stack([blocks.argmin(axis=1), blocks.argmax(axis=1)], axis=1), axis=1)
    at = (ends + np.arange(len(blocks))[:, None] * column).ravel()
    at = np.unique(np.concatenate([[0], at, np.arange(whole, len(height)), [len(height) - 1]]))
    return at, height[at]
