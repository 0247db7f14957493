"""One look of the trained network at prepared ECGs: numbers out, no thresholds, no opinions."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.resting.measured import Array, Measured
from model.resting.network import RestingNetwork
from model.resting.settings import STRIDE


@torch.inference_mode()
def measure(network: RestingNetwork, voltage_mv: Tensor, visible: Tensor) -> Measured:
    """Read and restore `(B, 12, T)` in one pass; the narrow code alone keeps it from copying."""
    reading = network(voltage_mv, visible)
    restored_mv, _ = network.restore(reading.code)
    error_mv = (voltage_mv - restored_mv).abs() * visible
    n, leads, samples = error_mv.shape
    return Measured(
        type_logits=reading.type_logits.numpy(),
        statement_logits=reading.statement_logits.numpy(),
        attention=reading.attention.numpy(),
        residual_mv=error_mv.view(n, leads, samples // STRIDE, STRIDE).mean(dim=3).numpy(),
        pooled=reading.pooled.numpy(),
        restored_mv=restored_mv.numpy(),
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
    return Measured.joined(parts)


def lead_influence(
    network: RestingNetwork,
    voltage_mv: Array,
    visible: NDArray[np.bool_],
    type_index: int,
) -> NDArray[np.float64]:
    """|gradient x voltage| of one type's logit for one window `(12, T)`, a step: `(12, S)`."""
    voltage = torch.from_numpy(voltage_mv)[None].clone().requires_grad_()
    logit = network(voltage, torch.from_numpy(visible)[None]).type_logits[0, type_index]
    (gradient,) = torch.autograd.grad(logit, voltage)
    moved = (gradient * voltage.detach()).abs()[0].numpy().astype(np.float64)
    steps: NDArray[np.float64] = moved.reshape(12, -1, STRIDE).sum(axis=2)
    return steps
