"""Atrial fibrillation and flutter in any strip: a small network over beats, in numpy alone.

Every lead is read in windows of 10 s, a new one every 5 s (`af_inputs`). The network gives two log
odds a window: `AF` (fibrillation or flutter), and `other`, any other departure of rhythm, ectopy or
conduction from sinus rhythm. Gated attention over the beats (Ilse et al., ICML 2018) says which
beats an answer rests on. Log odds are averaged over networks of different seeds and over leads;
those of a strip are the mean of its windows.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model.calibration import Logistic
from model.errors import BundleError
from model.signal import RATE_HZ, bridge_gaps, remove_baseline, resample
from model.strip.af_inputs import MAX_BEATS, MIN_BEATS, AfInputs, Array, stacked, window_inputs

Scores = NDArray[np.float64]
Tensors = dict[str, Array]

WINDOW_S, WINDOW_STEP_S = 10.0, 5.0
HEADS = ("AF", "other")
MAX_LEADS = 3  # more leads take longer and repeat the same atria
PREFERRED_LEADS = ("II", "I", "V1")  # where P waves are largest, then what was trained on most
MIN_SEEN_SHARE = 0.95  # half a second of ten may be missing: less than a beat, as in the gate
PREFIX = "af."

_BATCH = 256  # windows
_STATE = (
    *("rhythm_mean", "rhythm_scale", "window_mean", "window_scale"),
    *(
        f"{layer}.{part}"
        for layer in (
            "segment",
            "beat",
            "context",
            "window",
            "value",
            "gate",
            "score",
            "joint",
            "heads",
        )
        for part in ("weight", "bias")
    ),
)


class Traces(NamedTuple):
    """Leads as the network reads them.

    Attributes:
        voltage_mv: `(n_leads, n_samples)` at RATE_HZ without baseline.
        seen: likewise; False where nothing was recorded.
    """

    voltage_mv: Array
    seen: NDArray[np.bool_]


class AfOutputs(NamedTuple):
    """What a network says of n windows: `log_odds` `(n, 2)` by HEADS, `attention` `(n, K)`."""

    log_odds: Array
    attention: Array


@dataclass(frozen=True, eq=False)
class AfEvidence:
    """Evidence over a strip, W windows; none where too few beats were found.

    Attributes:
        start_s, end_s: `(W,)` of each window.
        log_odds: `(W, 2)` by HEADS, calibrated for one window.
        attention: `(n_beats,)` sums to 1 where there is a window: each beat's share in the
            windows' attention, windows that speak for AF counting more.
    """

    start_s: Scores
    end_s: Scores
    log_odds: Scores
    attention: Scores

    @property
    def probabilities(self) -> dict[str, float]:
        """Of the strip as a whole, by HEADS; 0 where nothing could be read."""
        if not len(self.log_odds):
            return dict.fromkeys(HEADS, 0.0)
        return dict(zip(HEADS, expit(self.log_odds.mean(axis=0)).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class AfModel:
    """The networks with their calibration and the thresholds that follow from it.

    Attributes:
        networks: one set of weights a seed.
        platt: by HEADS, one weight each, on the log odds averaged over networks.
        threshold: AF is told from this probability on.
        release: an episode of AF lasts while the probability stays at or above this.
        other_threshold: likewise for `other`.
    """

    networks: tuple[Tensors, ...]
    platt: tuple[Logistic, ...]
    threshold: float
    release: float
    other_threshold: float

    def log_odds(self, inputs: AfInputs) -> AfOutputs:
        """Calibrated log odds of n windows, and the attention, averaged over networks."""
        outputs = [forward(network, inputs) for network in self.networks]
        raw = np.mean([o.log_odds for o in outputs], axis=0).astype(np.float64)
        calibrated = [p.decision(raw[:, i : i + 1]) for i, p in enumerate(self.platt)]
        attention = np.mean([o.attention for o in outputs], axis=0)
        return AfOutputs(np.stack(calibrated, axis=1).astype(np.float32), attention)

    def read(self, traces: Traces, beat_times_s: Scores) -> AfEvidence:
        """Read a strip; a window counts where a lead was recorded for most of it."""
        n_samples = traces.voltage_mv.shape[1]
        peaks = np.clip(np.round(beat_times_s * RATE_HZ).astype(np.int64), 0, n_samples - 1)
        windows, shown = _windows(peaks, traces.seen)
        log_odds = np.zeros((len(windows), len(HEADS)))
        attention = np.zeros(len(peaks))
        for at in range(0, len(windows), _BATCH):
            batch = list(zip(windows[at : at + _BATCH], shown[at : at + _BATCH], strict=True))
            outputs = self.log_odds(
                stacked([window.inputs(traces.voltage_mv[leads], peaks) for window, leads in batch])
            )
            rows = at + np.repeat(np.arange(len(batch)), [leads.sum() for _, leads in batch])
            np.add.at(log_odds, rows, outputs.log_odds)
            _add_attention(attention, [windows[row] for row in rows], outputs)
        return AfEvidence(
            start_s=np.array([w.start for w in windows]) / RATE_HZ,
            end_s=np.array([w.end for w in windows]) / RATE_HZ,
            log_odds=log_odds / shown.sum(axis=1, keepdims=True),
            attention=attention / max(attention.sum(), np.finfo(float).tiny),
        )

    def tensors(self) -> Tensors:
        """For safetensors; `from_tensors` is the inverse."""
        stacked_weights = {
            PREFIX + name: np.stack([network[name] for network in self.networks]) for name in _STATE
        }
        platt = [[p.weights[0], p.intercept] for p in self.platt]
        limits = [self.threshold, self.release, self.other_threshold]
        return stacked_weights | {
            PREFIX + "platt": np.array(platt, np.float32),
            PREFIX + "thresholds": np.array(limits, np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        """Inverse of tensors; tensors of other parts are passed over.

        Raises:
            BundleError: `tensors-missing`.
        """
        try:
            weights = {name: tensors[PREFIX + name] for name in _STATE}
            platt, limits = tensors[PREFIX + "platt"], tensors[PREFIX + "thresholds"]
        except KeyError as error:
            raise BundleError("tensors-missing", f"{error.args[0]} is not there") from error
        n = len(weights[_STATE[0]])
        return cls(
            networks=tuple({name: w[i] for name, w in weights.items()} for i in range(n)),
            platt=tuple(Logistic((float(slope),), float(level)) for slope, level in platt),
            threshold=float(limits[0]),
            release=float(limits[1]),
            other_threshold=float(limits[2]),
        )


def lead_traces(voltage_mv: Array, leads: tuple[str, ...], sampling_rate_hz: float) -> Traces:
    """At most MAX_LEADS of `(n_leads, n_samples)`; missing stretches (NaN) are bridged."""
    order = sorted(
        range(len(leads)),
        key=lambda i: PREFERRED_LEADS.index(leads[i]) if leads[i] in PREFERRED_LEADS else MAX_LEADS,
    )
    chosen = voltage_mv[order[:MAX_LEADS]]
    known = ~np.isnan(chosen)
    traces_mv = remove_baseline(resample(bridge_gaps(chosen, known), sampling_rate_hz))
    source = np.arange(traces_mv.shape[1]) * (sampling_rate_hz / RATE_HZ)
    return Traces(traces_mv, known[:, np.minimum(source.astype(np.int64), known.shape[1] - 1)])


def window_bounds(n_samples: int) -> list[tuple[int, int]]:
    """First and last sample of each window at RATE_HZ; the last window ends with the strip."""
    length, step = round(WINDOW_S * RATE_HZ), round(WINDOW_STEP_S * RATE_HZ)
    if n_samples <= length:
        return [(0, n_samples)]
    starts = [*range(0, n_samples - length, step), n_samples - length]
    return [(start, start + length) for start in starts]


class _Window(NamedTuple):
    """Samples `start` to `end` with the beats `first` to `last`."""

    start: int
    end: int
    first: int
    last: int

    def inputs(self, traces_mv: Array, peaks: NDArray[np.int64]) -> AfInputs:
        return window_inputs(
            traces_mv[:, self.start : self.end], peaks[self.first : self.last] - self.start
        )


def _windows(
    peaks: NDArray[np.int64], seen: NDArray[np.bool_]
) -> tuple[list[_Window], NDArray[np.bool_]]:
    """The windows that some lead shows, with enough beats to compare intervals; which, `(W, L)`."""
    bounds = np.array(window_bounds(seen.shape[1]))
    starts, ends = bounds.T
    count = np.pad(np.cumsum(seen, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    shown = ((count[:, ends] - count[:, starts]) / (ends - starts) >= MIN_SEEN_SHARE).T
    beats = np.searchsorted(peaks, bounds)
    kept = (beats[:, 1] - beats[:, 0] >= MIN_BEATS) & shown.any(axis=1)
    windows = [
        _Window(start, end, first, min(last, first + MAX_BEATS))
        for (start, end), (first, last) in zip(
            bounds[kept].tolist(), beats[kept].tolist(), strict=True
        )
    ]
    return windows, shown[kept]


def _add_attention(attention: Scores, windows: list[_Window], outputs: AfOutputs) -> None:
    """Share each window's attention out to its beats, by how much the window speaks for AF."""
    speaks = expit(outputs.log_odds[:, 0])
    for window, row, share in zip(windows, outputs.attention, speaks, strict=True):
        attention[window.first : window.last] += share * row[: window.last - window.first]


def forward(network: Tensors, inputs: AfInputs) -> AfOutputs:
    """One network's look; `af_training.AfNetwork` is the same in torch."""
    present = inputs.present[..., None]
    rhythm = (inputs.rhythm - network["rhythm_mean"]) / network["rhythm_scale"]
    window = (inputs.window - network["window_mean"]) / network["window_scale"]
    shape = _relu(_linear(network, "segment", inputs.segments))
    beat = _relu(_linear(network, "beat", np.concatenate([shape, rhythm], axis=-1))) * present
    beside = np.pad(beat, ((0, 0), (1, 1), (0, 0)))
    neighbours = np.concatenate([beside[:, :-2], beat, beside[:, 2:]], axis=-1)
    code = _relu(_linear(network, "context", neighbours))
    gate = expit(_linear(network, "gate", code))
    energy = _linear(network, "score", np.tanh(_linear(network, "value", code)) * gate)
    energy = np.where(present, energy, -np.inf)[..., 0]
    weight = np.exp(energy - energy.max(axis=1, keepdims=True))
    attention = weight / weight.sum(axis=1, keepdims=True)
    attended = (attention[..., None] * code).sum(axis=1)
    mean = (code * present).sum(axis=1) / present.sum(axis=1)
    whole = _relu(_linear(network, "window", window))
    joint = _relu(_linear(network, "joint", np.concatenate([attended, mean, whole], axis=-1)))
    return AfOutputs(_linear(network, "heads", joint), attention)


def _linear(network: Tensors, layer: str, values: Array) -> Array:
    out: Array = values @ network[f"{layer}.weight"].T + network[f"{layer}.bias"]
    return out


def _relu(values: Array) -> Array:
    return np.maximum(values, np.float32(0))
