"""How unlike a normal ECG: three views, each reported alone, and their fusion.

- `restoration`: how badly the decoder, taught on normals, restores the waveform;
- `latent`: how far the morphology code lies from the normals' codes (Mahalanobis);
- `types`: how strongly the network denies the statement NORM.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.bundle import Tensors
from model.errors import BundleError
from model.resting.card import AnomalyCalibration
from model.resting.measured import Measured

COMPONENTS = ("restoration", "latent", "types")
_RIDGE = 1e-3  # code numbers that never move would otherwise weigh without bound


@dataclass(frozen=True, eq=False)
class NormalCodes:
    """Where normal ECGs' morphology codes lie: `mean` `(m,)` and `precision` `(m, m)`."""

    mean: NDArray[np.float32]
    precision: NDArray[np.float32]

    @classmethod
    def fit(cls, morphology: NDArray[np.float32]) -> Self:
        """From the codes `(n, m)` of normal training ECGs."""
        codes = morphology.astype(np.float64)
        covariance = np.cov(codes.T) + _RIDGE * np.eye(codes.shape[1])
        return cls(
            codes.mean(axis=0).astype(np.float32), np.linalg.inv(covariance).astype(np.float32)
        )

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Self:
        """Inverse of tensors.

        Raises:
            BundleError: `bundle-altered` when they are not among the tensors.
        """
        try:
            return cls(tensors["normal_codes.mean"], tensors["normal_codes.precision"])
        except KeyError as error:
            raise BundleError("bundle-altered", f"no tensor {error}") from error

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """For the bundle."""
        return {"normal_codes.mean": self.mean, "normal_codes.precision": self.precision}

    def distance(self, morphology: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mahalanobis distance `(n,)` of codes `(n, m)`."""
        away = (morphology - self.mean).astype(np.float64)
        squared = np.einsum("ni,ij,nj->n", away, self.precision.astype(np.float64), away)
        distance: NDArray[np.float64] = np.sqrt(np.maximum(squared, 0))
        return distance


def components(measured: Measured, codes: NormalCodes) -> NDArray[np.float64]:
    """The three views `(n, 3)` in the order of COMPONENTS; more is less normal."""
    restoration = np.log(np.maximum(measured.misfit.astype(np.float64), 1e-6))
    latent = np.log(np.maximum(codes.distance(measured.morphology), 1e-6))
    return np.stack([restoration, latent, -measured.type_logits[:, 0].astype(np.float64)], axis=1)


def share_of_normals_below(
    views: NDArray[np.float64], calibration: AnomalyCalibration
) -> NDArray[np.float64]:
    """The anomaly score `(n,)` in [0, 1] of components `(n, 3)`."""
    quantiles = np.array(calibration.normal_quantiles)
    score: NDArray[np.float64] = np.interp(
        calibration.fusion.decision(views), quantiles, np.linspace(0, 1, len(quantiles))
    )
    return score
