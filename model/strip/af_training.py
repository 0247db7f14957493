"""Train the AF network, calibrate it, choose its thresholds: minutes on one core.

Folds 1-7 of PTB-XL and DS1 of MIT-BIH teach; fold 8 gives the calibration and the thresholds, so
that fold 9 is only looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model.calibration import Logistic, fit_logistic, operating_points
from model.strip.af import HEADS, AfModel, Tensors
from model.strip.af_examples import Examples
from model.strip.af_inputs import AFTER, BEFORE, N_RHYTHM, N_WINDOW, AfInputs

FITTING_FOLDS, CALIBRATION_FOLD = (0, 1, 2, 3, 4, 5, 6, 7), 8  # 0 is MIT-BIH

_N_SEGMENT = BEFORE + AFTER
_MIN_SCALE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How to train: `seeds` networks, averaged."""

    seeds: int = 3
    epochs: int = 12
    batch: int = 256
    width: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    dropout: float = 0.2
    flipped_share: float = 0.3  # leads are recorded upside down now and then


class AfNetwork(nn.Module):
    """The network of `model.strip.af.forward`, for training; names of weights are the same."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.segment = nn.Linear(_N_SEGMENT, width)
        self.beat = nn.Linear(width + N_RHYTHM, width)
        self.context = nn.Linear(3 * width, width)
        self.window = nn.Linear(N_WINDOW, width)
        self.value = nn.Linear(width, width // 2)
        self.gate = nn.Linear(width, width // 2)
        self.score = nn.Linear(width // 2, 1)
        self.joint = nn.Linear(3 * width, width)
        self.heads = nn.Linear(width, len(HEADS))
        self.dropout = nn.Dropout(dropout)
        for name, n in (("rhythm", N_RHYTHM), ("window", N_WINDOW)):
            self.register_buffer(f"{name}_mean", torch.zeros(n))
            self.register_buffer(f"{name}_scale", torch.ones(n))

    def standardise(self, examples: Examples, rows: NDArray[np.int64]) -> None:
        """Take means and spreads from the windows that will be learned from."""
        chosen = np.zeros(len(examples.n_beats), np.bool_)
        chosen[rows] = True
        beats = np.repeat(chosen, examples.n_beats)
        for name, values in (
            ("rhythm", examples.rhythm[beats]),
            ("window", examples.window[chosen]),
        ):
            mean, scale = values.mean(axis=0), values.std(axis=0) + _MIN_SCALE
            self.get_buffer(f"{name}_mean").copy_(torch.from_numpy(mean))
            self.get_buffer(f"{name}_scale").copy_(torch.from_numpy(scale))

    def forward(self, segments: Tensor, rhythm: Tensor, window: Tensor, present: Tensor) -> Tensor:
        """Log odds `(n, 2)` of inputs shaped as in AfInputs."""
        shown = present[..., None]
        rhythm = (rhythm - self.get_buffer("rhythm_mean")) / self.get_buffer("rhythm_scale")
        window = (window - self.get_buffer("window_mean")) / self.get_buffer("window_scale")
        shape = torch.relu(self.segment(segments))
        beat = torch.relu(self.beat(torch.cat([shape, rhythm], dim=-1)))
        beat = self.dropout(beat) * shown
        beside = functional.pad(beat, (0, 0, 1, 1))
        code = torch.relu(self.context(torch.cat([beside[:, :-2], beat, beside[:, 2:]], dim=-1)))
        gated = torch.tanh(self.value(code)) * torch.sigmoid(self.gate(code))
        energy = self.score(gated)[..., 0].masked_fill(~present, -torch.inf)
        attended = (energy.softmax(dim=1)[..., None] * code).sum(dim=1)
        mean = (code * shown).sum(dim=1) / shown.sum(dim=1)
        pooled = torch.cat([attended, mean, torch.relu(self.window(window))], dim=-1)
        joint = torch.relu(self.joint(self.dropout(pooled)))
        log_odds: Tensor = self.heads(self.dropout(joint))
        return log_odds

    def weights(self) -> Tensors:
        """As `model.strip.af` reads them."""
        return {name: value.detach().numpy().copy() for name, value in self.state_dict().items()}


def fit(examples: Examples, settings: Settings) -> AfModel:
    """Train on FITTING_FOLDS, calibrate on CALIBRATION_FOLD's clean leads I and II."""
    teach = np.flatnonzero(np.isin(examples.fold, FITTING_FOLDS))
    networks = tuple(
        train_network(examples, teach, settings, seed) for seed in range(settings.seeds)
    )
    return calibrated(networks, examples, calibration_rows(examples))


def calibration_rows(examples: Examples) -> NDArray[np.int64]:
    """Windows that calibration and thresholds come from: leads I and II as they were recorded."""
    usual = (examples.lead >= 0) & (examples.lead < 2) & examples.clean
    return np.flatnonzero(usual & (examples.fold == CALIBRATION_FOLD))


def train_network(
    examples: Examples, rows: NDArray[np.int64], settings: Settings, seed: int
) -> Tensors:
    """Train one network on some windows; the same seed gives the same weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = AfNetwork(settings.width, settings.dropout)
    network.standardise(examples, rows)
    size = min(settings.batch, len(rows))
    steps = len(rows) // size
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    for _ in range(settings.epochs):
        shuffled = rng.permutation(rows)[: steps * size]
        for batch in _batches(shuffled, size):
            inputs = _flipped(examples.inputs(batch), settings.flipped_share, rng)
            log_odds = network(*(torch.from_numpy(part) for part in inputs))
            loss = _loss(log_odds, torch.from_numpy(examples.labels[batch]))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return network.weights()


def calibrated(
    networks: tuple[Tensors, ...], examples: Examples, rows: NDArray[np.int64]
) -> AfModel:
    """Fit Platt's calibration and the thresholds on windows that no network has learned from.

    AF and `other` are told from the probability with the highest F1 on; an episode of AF lasts
    down to the probability with the largest sum of sensitivity and specificity.
    """
    identity = Logistic((1.0,), 0.0)
    raw = AfModel(networks, (identity, identity), 0.5, 0.5, 0.5)
    log_odds = predict(raw, examples, rows)
    labels = examples.labels[rows] == 1
    platt = tuple(fit_logistic(labels[:, i], log_odds[:, i : i + 1]) for i in range(len(HEADS)))
    probability = [p(log_odds[:, i : i + 1]) for i, p in enumerate(platt)]
    threshold = highest_f1(labels[:, 0], probability[0])
    balanced = operating_points(labels[:, 0], probability[0])["balanced"].threshold
    return replace(
        raw,
        platt=platt,
        threshold=threshold,
        release=min(threshold, balanced),
        other_threshold=highest_f1(labels[:, 1], probability[1]),
    )


def predict(model: AfModel, examples: Examples, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Calibrated log odds `(n, 2)` of some windows."""
    parts = [model.log_odds(examples.inputs(b)).log_odds for b in _batches(rows, 512)]
    return np.concatenate(parts).astype(np.float64)


def highest_f1(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The threshold with the highest F1, half way between the scores that it parts."""
    order = np.argsort(-scores, kind="stable")
    ranked = np.append(scores[order], scores.min())
    hits = np.cumsum(labels[order])
    best = int(np.argmax(2 * hits / (labels.sum() + np.arange(1, len(labels) + 1))))
    return float(ranked[best : best + 2].mean())


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _flipped(inputs: AfInputs, share: float, rng: np.random.Generator) -> AfInputs:
    """Turn some windows upside down: the samples and the averaged beat, nothing else."""
    sign = np.where(rng.random(len(inputs.present)) < share, -1, 1).astype(np.float32)
    window = inputs.window.copy()
    window[:, :_N_SEGMENT] *= sign[:, None]
    return inputs._replace(segments=inputs.segments * sign[:, None, None], window=window)


def _loss(log_odds: Tensor, labels: Tensor) -> Tensor:
    known = (labels >= 0).float()
    each = functional.binary_cross_entropy_with_logits(
        log_odds, labels.clamp(min=0).float(), reduction="none"
    )
    return (each * known).sum() / known.sum()
