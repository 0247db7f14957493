"""The card of a strip bundle: sizes, preprocessing, calibration, decision, origin, results."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import log_softmax

from model.bundle import (
    BUNDLES,
    CARD_FILE,
    MAX_CARD_BYTES,
    Bundle,
    BundleCard,
    Part,
    load_bundle,
)
from model.errors import BundleError
from model.findings import AAMI_CLASSES
from model.signal import BASELINE_CUTOFF_HZ, RATE_HZ
from model.strip.anomaly import VIEWS, AnomalyScale
from model.strip.inputs import BLOCK_S, N_RHYTHM, N_TRAITS, WINDOW
from model.strip.settings import SEQUENCE, Dimensions

NAME, GRAPH = "strip", "beats.onnx"
SHIPPED = BUNDLES / "strip-1"

Scores = NDArray[np.float64]
PerClass = tuple[float, float, float, float, float]


class Preprocessing(Part):
    """What the network expects; a reader that does otherwise must refuse the bundle."""

    rate_hz: int = RATE_HZ
    window_samples: int = WINDOW
    n_traits: int = N_TRAITS
    n_rhythm: int = N_RHYTHM
    sequence_beats: int = SEQUENCE
    block_s: float = BLOCK_S
    baseline_cutoff_hz: float = BASELINE_CUTOFF_HZ


class BeatCalibration(Part):
    """From averaged log probabilities to calibrated ones, and from these to a class.

    Attributes:
        slope: one for all classes (temperature, Guo et al., ICML 2017, is its inverse).
        offsets: added by class for calibration.
        decision: added by class before the largest is told.
    """

    slope: float = Field(gt=0)
    offsets: PerClass
    decision: PerClass

    def log_probabilities(self, raw: Scores) -> Scores:
        """Calibrated `(n, 5)`."""
        calibrated: Scores = log_softmax(self.slope * raw + np.array(self.offsets), axis=1)
        return calibrated

    def classes(self, calibrated: Scores) -> NDArray[np.int64]:
        """Indices into AAMI_CLASSES, `(n,)`."""
        classes: NDArray[np.int64] = np.argmax(calibrated + np.array(self.decision), axis=1)
        return classes


class Origin(Part):
    """Where the weights come from."""

    annotated: str
    annotated_records: tuple[str, ...]
    weak: str
    command: str
    settings: dict[str, float]
    seeds: tuple[int, ...]


class StripCard(BundleCard):
    """The content of card.json."""

    format_version: Literal[1] = 1
    dimensions: Dimensions
    n_networks: int = Field(ge=1)
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    calibration: BeatCalibration
    anomaly_views: tuple[str, ...]
    anomaly: AnomalyScale
    origin: Origin

    def check(self) -> None:
        """Refuse other preprocessing, classes or views.

        Raises:
            BundleError: `preprocessing-unknown`, `types-unknown`, `views-unknown`.
        """
        if self.preprocessing != Preprocessing():
            raise BundleError("preprocessing-unknown", "this version prepares beats differently")
        if self.classes != AAMI_CLASSES:
            raise BundleError("types-unknown", f"expected {', '.join(AAMI_CLASSES)}")
        if self.anomaly_views != VIEWS or set(self.anomaly.views) != set(VIEWS):
            raise BundleError("views-unknown", f"expected {', '.join(VIEWS)}")


StripBundle = Bundle[StripCard]


def load_strip(folder: Path = SHIPPED) -> StripBundle:
    """Read and verify a strip bundle, or the shipped one.

    Raises:
        BundleError: as `load_bundle`.
    """
    return load_bundle(folder, StripCard)


def is_strip(folder: Path) -> bool:
    """Whether a folder's card names a strip model; its own reader says whether it is sound."""
    try:
        with (folder / CARD_FILE).open("rb") as file:
            card = json.loads(file.read(MAX_CARD_BYTES))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("name") == NAME
