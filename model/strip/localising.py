"""Does attention find the ectopic beat in a strip that was labelled only as a whole?

Recordings are cut into strips of SEQUENCE beats. Pointing game (Zhang et al., ECCV 2016): in how
many strips with ectopy does the most attended beat lie on an ectopic one. Deletion (Petsiuk et al.,
BMVC 2018): how far the odds of ectopy fall when the most attended beats are replaced by the
patient's own template, on time, against as many beats drawn at random.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import auroc, bootstrap
from model.strip.inputs import BeatInputs
from model.strip.reading import Measure, SequenceBatch, traits_of
from model.strip.settings import SEQUENCE

DELETED = (1, 2, 4)  # beats replaced
_BATCH = 64

Array = NDArray[np.float32]
Scores = NDArray[np.float64]


def strip_attention(measure: Measure, inputs: BeatInputs) -> Scores:
    """Attention `(n_strips, SEQUENCE)` in consecutive strips, averaged over leads."""
    n_leads = inputs.traits.shape[1]
    found = [_attended(measure, _strips(inputs, lead)) for lead in range(n_leads)]
    attention: Scores = np.mean(found, axis=0)
    return attention


def deletion(measure: Measure, inputs: BeatInputs, attention: Scores, seed: int = 0) -> Scores:
    """Fall of the log odds of ectopy, `(n_strips, len(DELETED), 2)`: most attended, at random."""
    generator = np.random.default_rng(seed)
    by_attention = np.argsort(-attention, axis=1)
    at_random = np.argsort(generator.random(attention.shape), axis=1)
    n_leads = inputs.traits.shape[1]
    falls = np.zeros((len(attention), len(DELETED), 2))
    for lead in range(n_leads):
        strips = _strips(inputs, lead)
        usual = np.median(traits_of(inputs)[:, lead], axis=0)
        before = _odds(measure, strips)
        for i, count in enumerate(DELETED):
            for j, order in enumerate((by_attention, at_random)):
                replaced = _replaced(strips, order[:, :count], usual)
                falls[:, i, j] += (before - _odds(measure, replaced)) / n_leads
    return falls


def localisation(
    classes: list[NDArray[np.int64]],
    attentions: list[Scores],
    patients: list[str],
    falls: list[Scores] | None = None,
) -> dict[str, Any]:
    """Figures over the strips that hold ectopy (S, V or F), with intervals over patients.

    `classes` `(n,)` and `attentions` `(n_strips, SEQUENCE)` by record, annotated R peaks.
    """
    ectopic = [
        np.isin(c[: a.size], (1, 2, 3)).reshape(a.shape)
        for c, a in zip(classes, attentions, strict=True)
    ]
    whose = np.concatenate([[p] * len(a) for p, a in zip(patients, attentions, strict=True)])
    truth, attention = np.concatenate(ectopic), np.concatenate(attentions)
    holds = truth.any(axis=1)
    hit = truth[np.arange(len(truth)), attention.argmax(axis=1)][holds]
    share = truth[holds].mean(axis=1)
    mixed = holds & ~truth.all(axis=1)
    ranked = [auroc(t, a) for t, a in zip(truth[mixed], attention[mixed], strict=True)]
    figures: dict[str, Any] = {
        "strips": len(truth),
        "strips_with_ectopy": int(holds.sum()),
        "pointing_game": asdict(bootstrap(whose[holds], lambda r: float(hit[r].mean()))),
        "chance": float(share.mean()),
        "beat_auroc_within_strips": asdict(
            bootstrap(whose[mixed], lambda r: float(np.array(ranked)[r].mean()))
        ),
    }
    if falls is not None:
        mean = np.concatenate(falls)[holds].mean(axis=0)
        figures["fall_of_log_odds_by_beats_replaced"] = {
            str(count): {"most_attended": float(row[0]), "at_random": float(row[1])}
            for count, row in zip(DELETED, mean, strict=True)
        }
    return figures


def _strips(inputs: BeatInputs, lead: int) -> SequenceBatch:
    n = len(inputs.rhythm) // SEQUENCE * SEQUENCE
    return SequenceBatch(
        shapes=inputs.shapes[:n, lead],
        traits=traits_of(inputs)[:n, lead],
        rhythm=inputs.rhythm[:n],
        rows=np.arange(n).reshape(-1, SEQUENCE),
    )


def _replaced(strips: SequenceBatch, beats: NDArray[np.int64], usual: Array) -> SequenceBatch:
    """Strips with some beats `(n_strips, k)` as the template, on time."""
    at = np.take_along_axis(strips.rows, beats, axis=1)
    shapes, traits, rhythm = strips.shapes.copy(), strips.traits.copy(), strips.rhythm.copy()
    shapes[at, 0] -= shapes[at, 1]
    shapes[at, 1], traits[at], rhythm[at] = 0, usual, 0
    return SequenceBatch(shapes, traits, rhythm, strips.rows)


def _attended(measure: Measure, strips: SequenceBatch) -> Scores:
    return np.concatenate([measure(b).attention for b in _parts(strips)]).astype(np.float64)


def _odds(measure: Measure, strips: SequenceBatch) -> Scores:
    return np.concatenate([measure(b).ectopy for b in _parts(strips)]).astype(np.float64)


def _parts(strips: SequenceBatch) -> list[SequenceBatch]:
    size = _BATCH * SEQUENCE
    return [
        SequenceBatch(
            strips.shapes[first : first + size],
            strips.traits[first : first + size],
            strips.rhythm[first : first + size],
            strips.rows[first // SEQUENCE :][:_BATCH] - first,
        )
        for first in range(0, max(len(strips.rhythm), 1), size)
    ]
