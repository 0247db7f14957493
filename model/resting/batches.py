"""Batches for the resting network: crops, masks, missing leads, mixtures; torch seeds all."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.datasets.ptbxl import PtbXl, millivolts
from model.ecg import LEADS_12
from model.resting.settings import Settings
from model.signal import remove_baseline

PATCH = 40  # samples hidden together: 0.4 s, about a QRS and its T wave
LEAD_SUBSETS = (
    ("I", "II", "III", "aVR", "aVL", "aVF"),
    ("I", "II", "III", "V2"),
    ("I", "II", "V2"),
    ("I", "II"),
    ("I",),
    ("II",),
)


class Arrays(NamedTuple):
    """A data set ready for batches, rows aligned.

    Attributes:
        voltage_mv: `(n, 12, 1000)` baseline removed.
        types: `(n, 6)` 0 or 1.
        statements: `(n, 71)` likewise.
        normal: `(n,)` bool.
    """

    voltage_mv: Tensor
    types: Tensor
    statements: Tensor
    normal: Tensor


class Batch(NamedTuple):
    """One step's input; the first half of the rows is masked, the second mixed.

    Attributes:
        voltage_mv: `(B, 12, T)` also where hidden.
        visible: `(B, 12, T)` bool.
        types: `(B, 6)` in [0, 1].
        statements: `(B, 71)` likewise.
        restore: rows whose restoration is taught.
        target_mv: `(len(restore), 12, T)` what those rows are restored to.
    """

    voltage_mv: Tensor
    visible: Tensor
    types: Tensor
    statements: Tensor
    restore: Tensor
    target_mv: Tensor


def arrays(data: PtbXl, device: torch.device) -> Arrays:
    """Filter once, keep in memory."""
    voltage = np.empty(data.voltage_uv.shape, np.float32)
    for start in range(0, len(voltage), 1_024):
        rows = slice(start, start + 1_024)
        voltage[rows] = remove_baseline(millivolts(data.voltage_uv[rows]))
    return Arrays(
        torch.from_numpy(voltage).to(device),
        torch.from_numpy(data.types.astype(np.float32)).to(device),
        torch.from_numpy(data.statements.astype(np.float32)).to(device),
        torch.from_numpy(data.normal).to(device),
    )


def batches(data: Arrays, settings: Settings, epoch: int) -> Iterator[Batch]:
    """Yield whole batches in random order, the first epochs' cropped."""
    order = torch.randperm(len(data.normal)).to(data.normal.device)
    cropped = epoch < settings.crop_share * settings.epochs
    length = settings.crop if cropped else data.voltage_mv.shape[2]
    for rows in torch.split(order, settings.batch_size):
        if len(rows) == settings.batch_size:
            start = int(torch.randint(data.voltage_mv.shape[2] - length + 1, ()))
            picked = Arrays(*(part[rows] for part in data))
            crop = picked.voltage_mv[:, :, start : start + length]
            yield _augmented(picked._replace(voltage_mv=crop), settings)


def _augmented(data: Arrays, settings: Settings) -> Batch:
    n, half = len(data.voltage_mv), len(data.voltage_mv) // 2
    gain = torch.empty_like(data.types[:, :1]).uniform_(0.9, 1.1)
    clean = data.voltage_mv * gain[:, :, None]
    noise_mv = torch.empty_like(gain).uniform_(0, 0.02)
    noisy = clean + noise_mv[:, :, None] * torch.randn_like(clean)
    share = torch.ones_like(gain)
    beta = torch.distributions.Beta(settings.mixup, settings.mixup)
    share[half:] = beta.sample((n - half, 1)).to(share)
    partner = torch.cat([torch.arange(half), torch.arange(half, n).roll(1)])
    visible = leads_shown(n, settings.lead_dropout)[:, :, None].repeat(1, 1, clean.shape[2])
    visible[:half] &= patches_shown(half, clean.shape[2], settings.mask_share)
    restore = torch.nonzero(data.normal[:half])[:, 0]
    return Batch(
        voltage_mv=_mixed(noisy, share[:, :, None], partner),
        visible=visible.to(clean.device),
        types=_mixed(data.types, share, partner),
        statements=_mixed(data.statements, share, partner),
        restore=restore,
        target_mv=clean[restore],
    )


def _mixed(part: Tensor, share: Tensor, partner: Tensor) -> Tensor:
    return share * part + (1 - share) * part[partner]


def leads_shown(n: int, dropout: float) -> Tensor:
    """Draw who sees which leads, `(n, 12)` bool.

    With probability `dropout` an ECG keeps one of LEAD_SUBSETS or, as likely, a random set.
    """
    shown = torch.ones(n, 12, dtype=torch.bool)
    subsets = torch.tensor([[lead in subset for lead in LEADS_12] for subset in LEAD_SUBSETS])
    dropped = torch.nonzero(torch.rand(n) < dropout)[:, 0]
    usual = subsets[torch.randint(len(subsets), (len(dropped),))]
    drawn = torch.rand(len(dropped), 12)
    chance = drawn < torch.rand(len(dropped), 1)
    chance |= drawn == drawn.amin(dim=1, keepdim=True)  # one lead at least
    shown[dropped] = torch.where(torch.rand(len(dropped), 1) < 0.5, usual, chance)
    return shown


def patches_shown(n: int, length: int, mask_share: float) -> Tensor:
    """Draw what stays visible, `(n, 12, length)` bool; half of the ECGs lose all leads at once."""
    n_patches = -(-length // PATCH)
    hidden = torch.rand(n, 12, n_patches) < mask_share
    hidden = torch.where(torch.rand(n, 1, 1) < 0.5, hidden[:, :1], hidden)
    return ~hidden.repeat_interleave(PATCH, dim=2)[:, :, :length]
