"""Millivolts to whole steps, as every format wants them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.ecg import Ecg

_FINEST_MV = 0.001  # where the sender told no resolution: a microvolt
_LARGEST = 32_767


@dataclass(frozen=True, eq=False)
class Steps:
    """An ECG in whole steps.

    Attributes:
        counts: `(n_leads, n_samples)`; 0 where there is no value.
        step_mv: `(n_leads,)`.
        missing: `(n_leads, n_samples)`.
    """

    counts: NDArray[np.int16]
    step_mv: tuple[float, ...]
    missing: NDArray[np.bool_]


def steps_of(ecg: Ecg) -> Steps:
    """Return the samples in the sender's own steps; coarser ones where 16 bits cannot hold them."""
    missing = np.isnan(ecg.voltage_mv)
    voltage_mv = np.where(missing, 0, ecg.voltage_mv).astype(np.float64)
    told = ecg.resolution_mv or (_FINEST_MV,) * len(ecg.leads)
    fitting = np.abs(voltage_mv).max(axis=1) / _LARGEST
    step_mv = np.maximum(told, fitting)
    counts = np.rint(voltage_mv / step_mv[:, None]).astype(np.int16)
    return Steps(counts, tuple(step_mv.tolist()), missing)
