"""The card of a resting bundle: sizes, preprocessing, calibration, thresholds, origin, results."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from model.anomaly import COMPONENTS, Scores
from model.bundle import BUNDLES, Bundle, BundleCard, Part, load_bundle
from model.calibration import Logistic, OperatingPoint
from model.datasets.ptbxl import TYPES
from model.ecg import CHEST_LEADS, LIMB_LEADS
from model.errors import BundleError
from model.resting.settings import MV_PER_UNIT, STRIDE, WINDOW, Dimensions
from model.signal import BASELINE_CUTOFF_HZ, RATE_HZ

ANOMALY = "anomaly"
# Below this AUROC, or with this share of false alarms, a finding would mislead more than it tells.
MIN_AUROC, MAX_FALSE_POSITIVE_RATE = 0.85, 0.2
NETWORK_GRAPH, INFLUENCE_GRAPH = "network.onnx", "influence.onnx"
SHIPPED = BUNDLES / "resting-1"


class Preprocessing(Part):
    """What the network expects; a reader that does otherwise must refuse the bundle."""

    rate_hz: int = RATE_HZ
    window_samples: int = WINDOW
    stride_samples: int = STRIDE
    baseline_cutoff_hz: float = BASELINE_CUTOFF_HZ
    mv_per_unit: float = MV_PER_UNIT


class TypeCalibration(Part):
    """One type: Platt's calibration, and thresholds on the calibrated probability."""

    platt: Logistic
    operating_points: dict[str, OperatingPoint]


class AnomalyCalibration(Part):
    """How the fused anomaly views become a score from 0 to 1.

    Attributes:
        components: names of the views.
        normal_quantiles: the fused views of normal ECGs at equally spaced ranks, rising.
        threshold: on the score, that is on the share of normal ECGs below.
    """

    components: tuple[str, ...]
    normal_quantiles: tuple[float, ...] = Field(min_length=2)
    threshold: float = Field(ge=0, le=1)

    def share_of_normals_below(self, fused: Scores) -> Scores:
        """The anomaly score `(n,)` in [0, 1] of fused views `(n,)`."""
        ranks = np.linspace(0, 1, len(self.normal_quantiles))
        share: Scores = np.interp(fused, self.normal_quantiles, ranks)
        return share


class LeadSupport(Part):
    """What leads with as many independent signals can carry (`model.resting.support`).

    Attributes:
        auroc: of each type and of the anomaly score, on the calibration patients.
        anomaly_false_positive_rate: share of normal ECGs at or above the anomaly's threshold.
    """

    auroc: dict[str, float]
    anomaly_false_positive_rate: float = Field(ge=0, le=1)

    @staticmethod
    def key(leads: Iterable[str]) -> str:
        """Independent limb signals, two at most, and chest leads, such as `2+6`."""
        names = set(leads)
        limb, chest = len(names.intersection(LIMB_LEADS)), len(names.intersection(CHEST_LEADS))
        return f"{min(limb, 2)}+{chest}"

    @property
    def withheld(self) -> frozenset[str]:
        """Types, and ANOMALY, that these leads cannot carry."""
        weak = {code for code, auroc in self.auroc.items() if auroc < MIN_AUROC}
        shifted = self.anomaly_false_positive_rate > MAX_FALSE_POSITIVE_RATE
        return frozenset(weak | ({ANOMALY} if shifted else set()))


class Origin(Part):
    """Where the weights come from."""

    data: str
    data_sha256: str
    training_folds: tuple[int, ...]
    validation_folds: tuple[int, ...]
    calibration_patients: str
    command: str
    settings: dict[str, float]
    best_epoch: int


class RestingCard(BundleCard):
    """The content of card.json."""

    format_version: Literal[2] = 2
    dimensions: Dimensions
    preprocessing: Preprocessing
    types: tuple[str, ...]
    statements: tuple[str, ...]
    operating_point: str
    type_calibration: dict[str, TypeCalibration]
    anomaly: AnomalyCalibration
    lead_support: dict[str, LeadSupport]
    origin: Origin
    validation: dict[str, float]

    def withheld(self, leads: Iterable[str]) -> frozenset[str]:
        """Types, and ANOMALY, that these leads cannot carry; all where that was not measured."""
        support = self.lead_support.get(LeadSupport.key(leads))
        return support.withheld if support else frozenset((*TYPES, ANOMALY))

    def check(self) -> None:
        """Refuse other preprocessing, types or anomaly views, or a missing operating point.

        Raises:
            BundleError: `preprocessing-unknown`, `types-unknown`, `views-unknown`,
                `card-malformed`.
        """
        if self.preprocessing != Preprocessing():
            raise BundleError("preprocessing-unknown", "this version prepares ECGs differently")
        if self.types != TYPES or set(self.type_calibration) != set(TYPES):
            raise BundleError("types-unknown", f"expected {', '.join(TYPES)}")
        if self.anomaly.components != COMPONENTS:
            raise BundleError("views-unknown", f"expected {', '.join(COMPONENTS)}")
        points = [c.operating_points for c in self.type_calibration.values()]
        if any(self.operating_point not in named for named in points):
            raise BundleError("card-malformed", f"no operating point {self.operating_point!r}")


RestingBundle = Bundle[RestingCard]


def load_resting(folder: Path = SHIPPED) -> RestingBundle:
    """Read and verify a resting bundle, or the shipped one.

    Raises:
        BundleError: as `load_bundle`.
    """
    return load_bundle(folder, RestingCard)
