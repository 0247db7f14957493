"""Anomaly of an ECG in three views, fitted on normal training ECGs, each reported alone and fused.

- `restoration`: the decoder, taught on normals, restores what a normal heart of this rhythm and
  shape would have shown. Residual and voltage are averaged over the ECG's own beats, so that noise
  cancels, and divided by each other, so that large and small ECGs are comparable; places where
  normals too are restored badly count less.
- `latent`: distance of what the types' attention maps pooled to the normals' subspace and centre
  (probabilistic PCA: Tipping and Bishop, J. R. Stat. Soc. B 61(3), 1999).
- `types`: evidence of the heads for any abnormality type or against NORM.

Restoration and latent distance are fitted on normals alone. The fusion is the mean of the three
after each is brought to mean 0 and spread 1 over normals; it, too, needs no abnormal ECG.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks
from scipy.special import logsumexp

from model.errors import BundleError
from model.signal import RATE_HZ

Array = NDArray[np.float32]
Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]

COMPONENTS = ("restoration", "latent", "types")
BEFORE, AFTER = 25, 45  # samples around the steepest moment of QRS: P wave to end of T
LATENT_AXES = 32
_MIN_RR = RATE_HZ // 4  # 240 beats a minute
_QRS = 12  # samples
_FLOOR_MV = 1e-3  # mean voltage below which there is nothing to restore
_MIN_SPREAD = 1e-3  # latent numbers that hardly move must not weigh without bound


class AnomalyFeatures(NamedTuple):
    """What the three views are computed from, for n windows of WINDOW samples.

    Attributes:
        residual_mv: `(n, 12, W)` |residual averaged over beats|, W = BEFORE + AFTER; 0 where a lead
            is not shown.
        beat_mv: `(n, 12, W)` |median beat|, likewise.
        pooled: `(n, F)` features of the encoder as the types' attention maps pooled them.
        type_logits: `(n, 6)` in the order of TYPES.
    """

    residual_mv: Array
    beat_mv: Array
    pooled: Array
    type_logits: Array

    def rows(self, chosen: NDArray[np.int64] | Mask) -> "AnomalyFeatures":
        """Keep some windows, by index or mask."""
        return AnomalyFeatures(*(part[chosen] for part in self))


def anomaly_features(
    voltage_mv: Array, restored_mv: Array, visible: Mask, pooled: Array, type_logits: Array
) -> AnomalyFeatures:
    """Align residual and voltage with the beats; all leads and samples `(n, 12, T)`."""
    shown = voltage_mv * visible
    residual = (voltage_mv - restored_mv) * visible
    beats = all_beat_positions(shown)
    aligned = [_around_beats(*each) for each in zip(shown, residual, beats, strict=True)]
    return AnomalyFeatures(
        residual_mv=np.stack([r for _, r in aligned]),
        beat_mv=np.stack([v for v, _ in aligned]),
        pooled=pooled.reshape(len(pooled), -1),
        type_logits=type_logits,
    )


def beat_positions(voltage_mv: Array) -> Positions:
    """Steepest moments of the beats of `(12, T)` that lie wholly inside; the middle if none do."""
    return all_beat_positions(voltage_mv[None])[0]


def all_beat_positions(voltage_mv: Array) -> list[Positions]:
    """The same for each of `(n, 12, T)`; what can be done for all at once costs half as much."""
    slopes = uniform_filter1d(np.abs(np.diff(voltage_mv, axis=2)).sum(axis=1), _QRS, axis=1)
    heights = 0.4 * np.percentile(slopes, 98, axis=1)
    return [
        _inside(find_peaks(slope, height=height, distance=_MIN_RR)[0], voltage_mv.shape[2])
        for slope, height in zip(slopes, heights, strict=True)
    ]


def _inside(peaks: Positions, n_samples: int) -> Positions:
    inside = peaks[(peaks >= BEFORE) & (peaks <= n_samples - AFTER)]
    return inside if len(inside) else np.array([n_samples // 2])


def _around_beats(voltage_mv: Array, residual_mv: Array, beats: Positions) -> tuple[Array, Array]:
    window = beats[:, None] + np.arange(-BEFORE, AFTER)
    beat = np.abs(_median(voltage_mv[:, window]))
    residual = np.abs(residual_mv[:, window].mean(axis=1))
    return beat, residual


def _median(beats: Array) -> Array:
    """Median over axis 1 of `(12, n, W)`; three times as fast as NumPy's for a few beats."""
    ordered, n = np.sort(beats, axis=1), beats.shape[1]
    middle: Array = (ordered[:, (n - 1) // 2] + ordered[:, n // 2]) * np.float32(0.5)
    return middle


@dataclass(frozen=True, eq=False)
class NormalLatent:
    """Normals' features: `mean` and `spread` `(F,)`, `axes` `(k, F)`, `variances` `(k,)`, `rest`.

    `rest` is the variance along each direction that `axes` leave out.
    """

    mean: Array
    spread: Array
    axes: Array
    variances: Array
    rest: float

    @classmethod
    def fit(cls, pooled: Array, n_axes: int = LATENT_AXES) -> Self:
        """From normal training ECGs `(n, F)`; as many axes as the data can carry, at most."""
        mean, spread = pooled.mean(axis=0), pooled.std(axis=0) + _MIN_SPREAD
        values, vectors = np.linalg.eigh(np.cov(((pooled - mean) / spread).T, dtype=np.float64))
        k = min(n_axes, len(values) - 1)
        return cls(
            mean=mean.astype(np.float32),
            spread=spread.astype(np.float32),
            axes=np.ascontiguousarray(vectors[:, ::-1][:, :k].T, np.float32),
            variances=np.maximum(values[::-1][:k], _MIN_SPREAD).astype(np.float32),
            rest=float(max(values[::-1][k:].mean(), _MIN_SPREAD)),
        )

    def distance(self, pooled: Array) -> Scores:
        """Root of the negative log likelihood's quadratic part, `(n,)` of `(n, F)`."""
        z = ((pooled - self.mean) / self.spread).astype(np.float64)
        along = z @ self.axes.T.astype(np.float64)
        off = np.maximum((z**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        distance: Scores = np.sqrt((along**2 / self.variances).sum(axis=1) + off / self.rest)
        return distance


@dataclass(frozen=True, eq=False)
class AnomalyModel:
    """Everything that turns AnomalyFeatures into scores; plain arrays.

    Attributes:
        weight: `(12, W)` one over the root of the residual that normals have there.
        latent: the normals' features.
        heads: columns of the logits that count, NORM's (0) always.
        centre, scale: `(3,)` mean and spread of the views over normals.
    """

    weight: Array
    latent: NormalLatent
    heads: tuple[int, ...]
    centre: Scores
    scale: Scores

    def views(self, features: AnomalyFeatures) -> Scores:
        """The three views `(n, 3)` in the order of COMPONENTS; more is less normal."""
        logits = features.type_logits[:, list(self.heads)].astype(np.float64)
        logits[:, 0] = -logits[:, 0]
        return np.stack(
            [
                np.log(_relative(features, self.weight)),
                np.log(np.maximum(self.latent.distance(features.pooled), 1e-6)),
                logsumexp(logits, axis=1),
            ],
            axis=1,
        )

    def fused(self, views: Scores) -> Scores:
        """Mean of the standardised views, `(n, 3)` to `(n,)`; 0 is an average normal ECG."""
        fused: Scores = ((views - self.centre) / self.scale).mean(axis=1)
        return fused

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For safetensors; `from_tensors` is the inverse."""
        return {
            "anomaly.weight": self.weight,
            "anomaly.mean": self.latent.mean,
            "anomaly.spread": self.latent.spread,
            "anomaly.axes": self.latent.axes,
            "anomaly.variances": self.latent.variances,
            "anomaly.rest": np.array([self.latent.rest]),
            "anomaly.heads": np.array(self.heads, np.float32),
            "anomaly.centre": self.centre,
            "anomaly.scale": self.scale,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Inverse of tensors.

        Raises:
            BundleError: `bundle-altered` when one of them is missing.
        """
        try:
            latent = NormalLatent(
                mean=tensors["anomaly.mean"],
                spread=tensors["anomaly.spread"],
                axes=tensors["anomaly.axes"],
                variances=tensors["anomaly.variances"],
                rest=float(tensors["anomaly.rest"][0]),
            )
            return cls(
                weight=tensors["anomaly.weight"],
                latent=latent,
                heads=tuple(int(h) for h in tensors["anomaly.heads"]),
                centre=tensors["anomaly.centre"],
                scale=tensors["anomaly.scale"],
            )
        except KeyError as error:
            raise BundleError("bundle-altered", f"no tensor {error}") from error


def fit_anomaly(normals: AnomalyFeatures, heads: tuple[int, ...] = tuple(range(6))) -> AnomalyModel:
    """Fit on normal training ECGs; `heads` leaves out types that training has not seen."""
    weight = 1 / np.sqrt(normals.residual_mv.mean(axis=0) + _FLOOR_MV)
    raw = AnomalyModel(
        weight.astype(np.float32),
        NormalLatent.fit(normals.pooled),
        heads,
        centre=np.zeros(len(COMPONENTS)),
        scale=np.ones(len(COMPONENTS)),
    )
    views = raw.views(normals)
    return AnomalyModel(
        raw.weight, raw.latent, heads, centre=views.mean(axis=0), scale=views.std(axis=0) + 1e-9
    )


def _relative(features: AnomalyFeatures, weight: Array) -> Scores:
    """Weighted residual over weighted voltage of the beat, `(n,)`, above zero."""
    residual = (features.residual_mv * weight).sum(axis=(1, 2), dtype=np.float64)
    voltage = (features.beat_mv * weight).sum(axis=(1, 2), dtype=np.float64)
    floor = _FLOOR_MV * float(weight.sum())
    relative: Scores = (residual + floor * 1e-3) / (voltage + floor)
    return relative
