"""Everything the anomaly views need from one look of the network at prepared ECGs."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from model.anomaly import AnomalyFeatures, Array, Mask, anomaly_features
from model.resting.network import RestingNetwork


@torch.inference_mode()
def observe(network: RestingNetwork, voltage_mv: Tensor, visible: Tensor) -> AnomalyFeatures:
    """Read and restore `(B, 12, T)` millivolts; `pooled` is `(B, n_types * F)`."""
    features: list[Tensor] = []
    hook = network.lstm.register_forward_hook(lambda _module, _input, out: features.append(out[0]))
    try:
        reading = network(voltage_mv, visible)
    finally:
        hook.remove()
    restored_mv, _ = network.restore(reading.code)
    pooled = torch.einsum("bts,bsf->btf", reading.attention.float(), features[0].float())
    return anomaly_features(
        voltage_mv.numpy(),
        restored_mv.numpy(),
        visible.numpy(),
        pooled.flatten(1).numpy(),
        reading.type_logits.numpy(),
    )


def observe_all(network: RestingNetwork, voltage_mv: Array, batch: int = 64) -> AnomalyFeatures:
    """All leads of `(n, 12, T)`, in batches."""
    visible: Mask = np.ones(voltage_mv.shape, np.bool_)
    parts = list(_observed(network, voltage_mv, visible, batch))
    return AnomalyFeatures(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _observed(
    network: RestingNetwork, voltage_mv: Array, visible: Mask, batch: int
) -> Iterator[AnomalyFeatures]:
    for start in range(0, len(voltage_mv), batch):
        rows = slice(start, start + batch)
        yield observe(network, torch.from_numpy(voltage_mv[rows]), torch.from_numpy(visible[rows]))
