"""Beats in sequences through a network, and back to one answer a beat; no torch here."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from model.strip.inputs import Array, BeatInputs
from model.strip.settings import SEQUENCE

_EDGE = SEQUENCE // 4  # beats on either side that only give context
_STEP = SEQUENCE - 2 * _EDGE
_BATCH = 32  # sequences a call: more is no faster, and hours must not take all memory


class SequenceBatch(NamedTuple):
    """n beats, each once, and which of them make up B sequences.

    Attributes:
        shapes: `(n, 2, WINDOW)`.
        traits: `(n, 2 * N_TRAITS)`.
        rhythm: `(n, N_RHYTHM)`.
        rows: `(B, SEQUENCE)` number of the beat, or ABSENT.
    """

    shapes: Array
    traits: Array
    rhythm: Array
    rows: NDArray[np.int64]


class Measured(NamedTuple):
    """A network's word on n beats in B sequences.

    Attributes:
        log_probabilities: `(B, SEQUENCE, 5)` by AAMI_CLASSES.
        attention: `(B, SEQUENCE)` sums to 1 over the beats that exist.
        ectopy: `(B,)` log odds that an ectopic beat is among them.
        errors: `(n,)` of the masked restoration, in QRS heights.
    """

    log_probabilities: Array
    attention: Array
    ectopy: Array
    errors: Array


ABSENT = -1
Measure = Callable[[SequenceBatch], Measured]


class BeatOutputs(NamedTuple):
    """Of n beats in L leads.

    Attributes:
        log_probabilities: `(n, 5)`, the mean over the leads that show the beat.
        errors: `(n, L)`.
        attention: `(n,)` sums to 1: each sequence's, by how surely it holds an ectopic beat.
    """

    log_probabilities: NDArray[np.float64]
    errors: NDArray[np.float64]
    attention: NDArray[np.float64]


def read_beats(measure: Measure, inputs: BeatInputs) -> BeatOutputs:
    """Read beats in overlapping sequences, each in one lead; ends have less context."""
    n, n_leads = inputs.traits.shape[:2]
    log_probabilities, attention = np.zeros((n, 5)), np.zeros(n)
    errors = np.zeros((n, n_leads))
    weights = lead_weights(inputs).T
    for beats, read, batch in _batches(inputs):
        said = measure(batch)
        weight = weights[:, beats]
        told = weight[..., None] * _inner(said.log_probabilities, weight.shape)
        log_probabilities[beats] = told.sum(axis=0, dtype=np.float64)
        errors[read] = said.errors.reshape(n_leads, -1).T
        matters = expit(said.ectopy) * (batch.rows != ABSENT).sum(axis=1)
        share = weight * _inner(said.attention * matters[:, None], weight.shape)
        attention[beats] = share.sum(axis=0, dtype=np.float64)
    total = max(attention.sum(), np.finfo(float).tiny)
    return BeatOutputs(log_probabilities, errors, attention / total)


def traits_of(inputs: BeatInputs) -> Array:
    """Each lead's own traits, then the mean over all leads, `(n, L, 2 * N_TRAITS)`."""
    mean = np.sum(inputs.traits * lead_weights(inputs)[..., None], axis=1, keepdims=True)
    return np.concatenate([inputs.traits, np.broadcast_to(mean, inputs.traits.shape)], axis=2)


def lead_weights(inputs: BeatInputs) -> Array:
    """Shares `(n, L)` of the leads that show the beat; all alike where none does."""
    known = inputs.known | ~inputs.known.any(axis=1, keepdims=True)
    weights: Array = (known / known.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _batches(inputs: BeatInputs) -> Iterator[tuple[slice, slice, SequenceBatch]]:
    """Beats to be answered, beats to be read for it, and the sequences: lead after lead."""
    n, n_leads = inputs.traits.shape[:2]
    traits = traits_of(inputs)
    n_sequences = max(_BATCH // n_leads, 1)
    for first in range(0, n, n_sequences * _STEP):
        last = min(first + n_sequences * _STEP, n)
        starts = np.arange(first - _EDGE, last - _EDGE, _STEP)
        rows = starts[:, None] + np.arange(SEQUENCE)
        read = slice(max(first - _EDGE, 0), min(int(rows[-1, -1]) + 1, n))
        n_read = read.stop - read.start
        offsets = np.arange(n_leads)[:, None, None] * n_read - read.start
        rows = np.where((rows >= 0) & (rows < n), rows + offsets, ABSENT)
        yield (
            slice(first, last),
            read,
            SequenceBatch(
                shapes=_by_lead(inputs.shapes[read]),
                traits=_by_lead(traits[read]),
                rhythm=np.tile(inputs.rhythm[read], (n_leads, 1)),
                rows=rows.reshape(-1, SEQUENCE),
            ),
        )


def _by_lead(beats: Array) -> Array:
    """`(L * n, ...)` of `(n, L, ...)`."""
    return np.swapaxes(beats, 0, 1).reshape(-1, *beats.shape[2:])


def _inner(values: Array, shape: tuple[int, ...]) -> Array:
    """What sequences `(B, SEQUENCE, ...)` say of the beats inside them, `(n_leads, n, ...)`."""
    n_leads, n = shape
    return values[:, _EDGE:-_EDGE].reshape(n_leads, -1, *values.shape[2:])[:, :n]
