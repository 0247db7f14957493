"""Batches for the beat network: annotated sequences and weakly labelled strips, augmented."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from model.strip.settings import SEQUENCE, Settings

UNKNOWN = -1
_LEAD_SHARE = 0.75  # how likely another lead is there
_SHIFT = 2  # samples a window is moved: no two detectors agree on R


@dataclass(frozen=True, eq=False)
class Annotated:
    """Beats with a class each, recording after recording; several views of the same beats.

    Attributes:
        shapes: `(views, n, L, 2, WINDOW)` half precision.
        traits: `(views, n, L, N_TRAITS)`.
        rhythm: `(n, N_RHYTHM)`.
        classes: `(n,)`.
        record: `(n,)` number of the recording.
    """

    shapes: Tensor
    traits: Tensor
    rhythm: Tensor
    classes: Tensor
    record: Tensor


@dataclass(frozen=True, eq=False)
class Strips:
    """Strips labelled as a whole: `s` and `v` say whether such a beat is in it, or UNKNOWN.

    Attributes:
        shapes: `(m, SEQUENCE, L, 2, WINDOW)` half precision.
        traits: `(m, SEQUENCE, L, N_TRAITS)`.
        rhythm: `(m, SEQUENCE, N_RHYTHM)`.
        n_beats: `(m,)`.
        labels: `(m, 2)` supraventricular, ventricular: 1, 0 or UNKNOWN.
        group: `(m,)` strips are drawn from each group alike.
    """

    shapes: Tensor
    traits: Tensor
    rhythm: Tensor
    n_beats: Tensor
    labels: Tensor
    group: Tensor


class Sequences(NamedTuple):
    """What the network reads, `(B, T, ...)`; the first rows are annotated, the others weak."""

    shapes: Tensor
    traits: Tensor
    rhythm: Tensor
    present: Tensor


def annotated_sequences(data: Annotated, starts: Tensor) -> tuple[Sequences, Tensor]:
    """Sequences from some first beats, one lead and one view each, and classes `(B, SEQUENCE)`."""
    rows = starts[:, None] + torch.arange(SEQUENCE)
    rows = rows.clamp(max=len(data.classes) - 1)
    present = data.record[rows] == data.record[starts][:, None]
    present &= starts[:, None] + torch.arange(SEQUENCE) < len(data.classes)
    view = torch.randint(len(data.shapes), (len(starts), 1))
    lead = torch.randint(data.shapes.shape[2], (len(starts), 1))
    sequences = Sequences(
        data.shapes[view, rows, lead].float(),
        _with_mean(data.traits[view, rows], lead[:, 0]),
        data.rhythm[rows],
        present,
    )
    return sequences, torch.where(present, data.classes[rows], UNKNOWN)


def weak_sequences(data: Strips, rows: Tensor) -> Sequences:
    """Whole strips in one lead each."""
    lead = torch.randint(data.shapes.shape[2], (len(rows),))
    return Sequences(
        data.shapes[rows, :, lead].float(),
        _with_mean(data.traits[rows], lead),
        data.rhythm[rows],
        torch.arange(SEQUENCE) < data.n_beats[rows][:, None],
    )


def _with_mean(traits: Tensor, lead: Tensor) -> Tensor:
    """A lead's traits beside the mean over those leads that are there, `(B, T, 2 * N_TRAITS)`.

    Which of the others of `(B, T, L, N_TRAITS)` are there is drawn, so that one lead will do.
    """
    b, _, n_leads, _ = traits.shape
    there = torch.rand(b, n_leads) < _LEAD_SHARE
    there[torch.arange(b), lead] = True
    weights = there.float() / there.sum(dim=1, keepdim=True)
    mean = torch.einsum("btlk,bl->btk", traits, weights)
    return torch.cat([traits[torch.arange(b), :, lead], mean], dim=2)


def drawn_alike(group: Tensor, n: int) -> Tensor:
    """Rows, each group as often as any other."""
    groups = torch.unique(group)
    wanted = groups[torch.randint(len(groups), (n,))]
    chance = (group == wanted[:, None]).float()
    return torch.multinomial(chance, 1)[:, 0]


def joined(parts: list[Sequences]) -> Sequences:
    """One batch."""
    return Sequences(*(torch.cat(same) for same in zip(*parts, strict=True)))


def augmented(batch: Sequences, noise: Tensor, settings: Settings) -> Sequences:
    """Other gain, polarity, noise, fiducial point and pace; sometimes no traits, or no shapes.

    `noise` is `(k, n_samples)` of about unit size at the same rate.
    """
    b, t, _, window = batch.shapes.shape
    beat, rest = batch.shapes.unbind(2)
    gain = torch.exp(0.08 * torch.randn(b, 1, 1))
    level = settings.noise * torch.rand(b, 1, 1) ** 2
    row = torch.randint(len(noise), (b, 1, 1))
    start = torch.randint(noise.shape[1] - window, (b, t, 1))
    added = (gain - 1) * beat + level * noise[row, start + torch.arange(window)]
    sign = torch.randint(2, (b, 1, 1, 1)) * 2.0 - 1
    shapes = sign * torch.stack([beat + added, rest + added], dim=2)
    shift = int(torch.randint(-_SHIFT, _SHIFT + 1, ()))
    shapes = shapes.roll(shift, dims=3) * (torch.rand(b, 1, 1, 1) >= settings.shape_dropout)
    shapes = shapes * batch.present[:, :, None, None]
    traits = batch.traits + 0.1 * torch.randn_like(batch.traits)
    traits = traits * (torch.rand(b, 1, 1) >= settings.trait_dropout)
    stretch = torch.exp(0.15 * torch.randn(b, 1, 1))
    rhythm = stretch * batch.rhythm + 0.03 * torch.randn_like(batch.rhythm)
    return Sequences(shapes, traits, rhythm, batch.present)
