"""What the anomaly views need of ECGs that a network in torch has looked at."""

import numpy as np
import torch

from model.anomaly import AnomalyFeatures, Array, Mask, anomaly_features
from model.datasets.ptbxl import PtbXl, millivolts
from model.resting.network import RestingNetwork
from model.resting.reading import measure
from model.signal import remove_baseline

_BATCH = 64


def observe(network: RestingNetwork, voltage_mv: Array, visible: Mask) -> AnomalyFeatures:
    """Read and restore prepared ECGs `(n, 12, T)`, a batch at a time."""
    parts = []
    for start in range(0, len(voltage_mv), _BATCH):
        rows = slice(start, start + _BATCH)
        shown, seen = voltage_mv[rows], visible[rows]
        found = measure(network, torch.from_numpy(shown), torch.from_numpy(seen))
        parts.append(
            anomaly_features(shown, found.restored_mv, seen, found.pooled, found.type_logits)
        )
    return AnomalyFeatures(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def observe_dataset(network: RestingNetwork, data: PtbXl) -> AnomalyFeatures:
    """All leads of all rows, baseline removed."""
    voltage_mv = remove_baseline(millivolts(data.voltage_uv))
    return observe(network, voltage_mv, np.ones(voltage_mv.shape, np.bool_))
