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
_BATCH = 32


class Measured(NamedTuple):
    """A network's word on B sequences of SEQUENCE beats in one lead.

    Attributes:
        log_probabilities: `(B, SEQUENCE, 5)` by AAMI_CLASSES.
        attention: `(B, SEQUENCE)` sums to 1 over the beats that exist.
        ectopy: `(B,)` log odds that an ectopic beat is among them.
        errors: `(B, SEQUENCE)` of the masked restoration, in QRS heights.
    """

    log_probabilities: Array
    attention: Array
    ectopy: Array
    errors: Array


class SequenceBatch(NamedTuple):
    """Shapes `(B, T, 2, WINDOW)`, traits `(B, T, 2 * N_TRAITS)`, rhythm, and which beats exist."""

    shapes: Array
    traits: Array
    rhythm: Array
    present: NDArray[np.bool_]


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
    """Read beats in overlapping sequences, one lead after another; ends have less context."""
    n, n_leads = inputs.traits.shape[:2]
    log_probabilities, attention = np.zeros((n, 5)), np.zeros(n)
    errors = np.zeros((n, n_leads))
    weights = lead_weights(inputs)
    for lead in range(n_leads):
        for starts, batch in _batches(inputs, lead):
            said = measure(batch)
            for k, start in enumerate(starts):
                first = start + _EDGE
                beats = slice(first, min(first + _STEP, n))
                inner = slice(_EDGE, _EDGE + beats.stop - first)
                weight = weights[beats, lead, None]
                log_probabilities[beats] += weight * said.log_probabilities[k, inner]
                errors[beats, lead] = said.errors[k, inner]
                share = weight[:, 0] * said.attention[k, inner] * batch.present[k].sum()
                attention[beats] += expit(said.ectopy[k]) * share
    total = max(attention.sum(), np.finfo(float).tiny)
    return BeatOutputs(log_probabilities, errors, attention / total)


def traits_of(inputs: BeatInputs, lead: int) -> Array:
    """One lead's own traits, then the mean over all leads, `(n, 2 * N_TRAITS)`."""
    weights = lead_weights(inputs)[..., None]
    mean = np.sum(inputs.traits * weights, axis=1)
    return np.concatenate([inputs.traits[:, lead], mean], axis=1).astype(np.float32)


def lead_weights(inputs: BeatInputs) -> Array:
    """Shares `(n, L)` of the leads that show the beat; all alike where none does."""
    known = inputs.known | ~inputs.known.any(axis=1, keepdims=True)
    weights: Array = (known / known.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def _batches(inputs: BeatInputs, lead: int) -> Iterator[tuple[list[int], SequenceBatch]]:
    """First beats of sequences, which may lie before the first beat there is, and the sequences."""
    n = len(inputs.traits)
    traits = traits_of(inputs, lead)
    every = range(-_EDGE, n - _EDGE, _STEP)
    for at in range(0, len(every), _BATCH):
        starts = list(every[at : at + _BATCH])
        rows = np.array(starts)[:, None] + np.arange(SEQUENCE)
        present = (rows >= 0) & (rows < n)
        rows = np.clip(rows, 0, n - 1)
        shown = present[..., None]
        yield (
            starts,
            SequenceBatch(
                shapes=inputs.shapes[rows, lead] * shown[..., None],
                traits=traits[rows] * shown,
                rhythm=inputs.rhythm[rows] * shown,
                present=present,
            ),
        )
