"""One look of the trained network at prepared ECGs: numbers out, no thresholds, no opinions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.resting.network import RestingNetwork
from model.resting.settings import STRIDE

Array = NDArray[np.float32]

_MIN_SIZE_MV = 0.005  # mean |voltage| below which an ECG has nothing to restore


@dataclass(frozen=True, eq=False)
class Measured:
    """What the network makes of B windows; S = samples / STRIDE.

    Attributes:
        type_logits: `(B, 6)`.
        statement_logits: `(B, 71)`.
        attention: `(B, 6, S)`, sums to 1 over S.
        residual_mv: `(B, 12, S)` mean absolute restoration error of each step; 0 where unseen.
        misfit: `(B,)` summed restoration error over summed voltage, both absolute; 0 is perfect,
            1 is as good as a flat line.
        morphology: `(B, morphology_width)` the code's constant part.
    """

    type_logits: Array
    statement_logits: Array
    attention: Array
    residual_mv: Array
    misfit: Array
    morphology: Array


@torch.inference_mode()
def measure(network: RestingNetwork, voltage_mv: Tensor, visible: Tensor) -> Measured:
    """Read and restore `(B, 12, T)` in one pass; the narrow code alone keeps it from copying."""
    reading = network(voltage_mv, visible)
    mean_mv, _ = network.restore(reading.code)
    error_mv = (voltage_mv - mean_mv).abs() * visible
    size_mv = (voltage_mv.abs() * visible).sum(dim=(1, 2))
    floor_mv = _MIN_SIZE_MV * visible.sum(dim=(1, 2)).clamp(min=1)
    n, leads, samples = error_mv.shape
    return Measured(
        type_logits=reading.type_logits.numpy(),
        statement_logits=reading.statement_logits.numpy(),
        attention=reading.attention.numpy(),
        residual_mv=error_mv.view(n, leads, samples // STRIDE, STRIDE).mean(dim=3).numpy(),
        misfit=(error_mv.sum(dim=(1, 2)) / torch.maximum(size_mv, floor_mv)).numpy(),
        morphology=reading.code.morphology.numpy(),
    )


def measure_all(
    network: RestingNetwork, voltage_mv: Array, visible: NDArray[np.bool_], batch: int = 32
) -> Measured:
    """Read `(n, 12, T)` in batches."""
    parts = [
        measure(
            network,
            torch.from_numpy(voltage_mv[start : start + batch]),
            torch.from_numpy(visible[start : start + batch]),
        )
        for start in range(0, len(voltage_mv), batch)
    ]
    return Measured(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Measured.__dataclass_fields__
        }
    )
