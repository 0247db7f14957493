"""How unusual each beat is for its patient: four views, fused by how rare they are among normals.

The views: error of the masked restoration, distance from the patient's own template, how early the
beat comes (never how late), and the network's odds against N. Each is turned into the share of
normal beats that reach it; the fused view is the sum of the logarithms (Fisher, 1925).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model.bundle import Part
from model.strip.inputs import BeatInputs
from model.strip.reading import lead_weights

Scores = NDArray[np.float64]

VIEWS = ("restoration", "template", "prematurity", "network")
_N_RANKS = 201
_RAREST = 1e-3  # a share that so many normal beats can still tell


class AnomalyScale(Part):
    """Views of normal beats at equally spaced ranks, rising; and of their fusion.

    Attributes:
        views: by the names of VIEWS.
        fused: of the sum.
    """

    views: dict[str, tuple[float, ...]]
    fused: tuple[float, ...] = Field(min_length=2)

    def score(self, views: Scores) -> Scores:
        """Share of normal beats whose fused view is lower, `(n,)` of `(n, 4)` views."""
        fused = fuse(self.views, views)
        return np.interp(fused, self.fused, np.linspace(0, 1, len(self.fused)))


def beat_views(inputs: BeatInputs, errors: NDArray[Any], log_probabilities: NDArray[Any]) -> Scores:
    """`(n, 4)` by VIEWS, of errors `(n, L)` and log probabilities `(n, 5)`."""
    distance = np.sqrt(np.mean(np.square(inputs.shapes[:, :, 1]), axis=2))
    against = -log_probabilities[:, 0]
    weights = lead_weights(inputs)
    return np.column_stack(
        [
            np.sum(weights * np.log(errors + 1e-3), axis=1),
            np.sum(weights * np.log(distance + 1e-3), axis=1),
            np.maximum(-inputs.rhythm[:, 0], 0),
            np.log(np.expm1(np.maximum(against, 1e-6))),
        ]
    ).astype(np.float64)


def fuse(scales: dict[str, tuple[float, ...]], views: Scores) -> Scores:
    """Sum of the views' rarities `(n,)`: -log of the share of normals that reach them."""
    total = np.zeros(len(views))
    for name, column in zip(VIEWS, views.T, strict=True):
        quantiles = np.array(scales[name])
        below = np.interp(column, quantiles, np.linspace(0, 1, len(quantiles)))
        # Beyond all normals rarity still grows, by how far, in spreads of their upper half.
        spread = quantiles[-1] - quantiles[len(quantiles) // 2] + 1e-6
        beyond = np.maximum(column - quantiles[-1], 0) / spread
        total += -np.log(np.maximum(1 - below, _RAREST)) + beyond
    return total


def fit_scale(normal_views: Scores) -> AnomalyScale:
    """From normal beats' views `(n, 4)`."""
    ranks = np.linspace(0, 1, _N_RANKS)
    scales = {
        name: tuple(np.quantile(column, ranks).tolist())
        for name, column in zip(VIEWS, normal_views.T, strict=True)
    }
    fused = np.quantile(fuse(scales, normal_views), ranks)
    return AnomalyScale(views=scales, fused=tuple(fused.tolist()))
