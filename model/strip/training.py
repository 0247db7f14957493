"""Training of the beat network on annotated beats and on strips labelled as a whole.

A strip of PTB-XL says whether it holds a premature atrial or ventricular beat, not which beat it
is: the probability that at least one beat is such (noisy or) is held against the label, and all
beats of a strip with neither are normal.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.strip.batches import (
    UNKNOWN,
    Annotated,
    Sequences,
    Strips,
    annotated_sequences,
    augmented,
    drawn_alike,
    joined,
    weak_sequences,
)
from model.strip.network import BeatNetwork
from model.strip.settings import SEQUENCE, Dimensions, Settings

_S, _V = 1, 2
_LEAST = 1e-6
_FEWEST_BEATS = 6  # sequences are cut off at random: strips are short


class Teachers(NamedTuple):
    """What the network learns from; parts that are None are left out."""

    beats: Annotated | None
    edited: Annotated | None
    strips: Strips | None
    noise: Tensor


def train(
    teachers: Teachers,
    settings: Settings,
    *,
    on_epoch: Callable[[int, float], None] = lambda *_: None,
) -> BeatNetwork:
    """Train one network; return the moving average of its weights."""
    torch.manual_seed(settings.seed)
    network = BeatNetwork(Dimensions())
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.max_lr, (0.9, 0.99), weight_decay=settings.weight_decay
    )
    network.train()
    for epoch in range(settings.epochs):
        total = 0.0
        for step in range(settings.steps):
            rate = one_cycle((epoch + step / settings.steps) / settings.epochs, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            total += _step(network, optimizer, batch_loss(network, teachers, settings), settings)
            average.update_parameters(network)
        on_epoch(epoch, total / settings.steps)
    return cast("BeatNetwork", average.module).eval()


def _step(
    network: BeatNetwork, optimizer: torch.optim.Optimizer, loss: Tensor, settings: Settings
) -> float:
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
    optimizer.step()
    return float(loss.item())


def batch_loss(network: BeatNetwork, teachers: Teachers, settings: Settings) -> Tensor:
    """Draw one batch, read it, and compare."""
    parts, classes = [], []
    for source, size in ((teachers.beats, settings.sequences), (teachers.edited, settings.edited)):
        if source is not None:
            sequences, known = _drawn(source, size)
            parts.append(sequences)
            classes.append(known)
    labels = None
    if teachers.strips is not None:
        rows = drawn_alike(teachers.strips.group, settings.strips)
        parts.append(weak_sequences(teachers.strips, rows))
        labels = teachers.strips.labels[rows]
    batch = augmented(joined(parts), teachers.noise, settings)
    reading = network(*batch)
    n = sum(len(known) for known in classes)
    loss = torch.zeros(())
    if classes:
        told = torch.cat(classes)
        loss = settings.beat_weight * functional.cross_entropy(
            reading.logits[:n].flatten(0, 1), told.flatten(), ignore_index=UNKNOWN
        )
        loss = loss + settings.ectopy_weight * ectopy_loss(reading.ectopy[:n], told)
    if labels is not None:
        weak = weak_loss(reading.logits[n:], batch.present[n:], labels)
        loss = loss + settings.weak_weight * weak
    return loss


def ectopy_loss(ectopy: Tensor, classes: Tensor) -> Tensor:
    """Of `(B,)` log odds, against whether `(B, T)` classes hold anything but normal beats."""
    holds = (classes > 0).any(dim=1).float()
    return functional.binary_cross_entropy_with_logits(ectopy, holds)


def _drawn(source: Annotated, size: int) -> tuple[Sequences, Tensor]:
    """Sequences from anywhere, some cut short as strips are."""
    starts = torch.randint(len(source.classes), (size,))
    sequences, classes = annotated_sequences(source, starts)
    kept = torch.arange(SEQUENCE) < torch.randint(_FEWEST_BEATS, 3 * SEQUENCE, (size, 1))
    present = sequences.present & kept
    return sequences._replace(present=present), torch.where(kept, classes, UNKNOWN)


def weak_loss(logits: Tensor, present: Tensor, labels: Tensor) -> Tensor:
    """Of `(B, T, 5)` logits against `(B, 2)` labels of the strips."""
    log_p = logits.log_softmax(dim=2)
    p = log_p.exp()
    none = torch.log1p(-p[..., [_S, _V]].clamp(max=1 - 1e-4))
    none = (none * present[..., None]).sum(dim=1)  # log P(no such beat)
    some = torch.log(-torch.expm1(none.clamp(max=-_LEAST)))
    known = labels != UNKNOWN
    loss = (-torch.where(labels == 1, some, none) * known).sum() / known.sum().clamp(min=1)
    plain = (labels == 0).all(dim=1)[:, None] & present
    normal = -(log_p[..., 0] * plain).sum() / plain.sum().clamp(min=1)
    return loss + normal


def one_cycle(done: float, settings: Settings) -> float:
    """Learning rate after the share `done` of all steps (Smith and Topin, 2018), by cosines."""
    if done < settings.warm_up:
        return settings.max_lr * (
            0.04 + 0.96 * (0.5 - 0.5 * math.cos(math.pi * done / settings.warm_up))
        )
    fall = (done - settings.warm_up) / (1 - settings.warm_up)
    return settings.max_lr * (0.5 + 0.5 * math.cos(math.pi * fall)) + 1e-6
