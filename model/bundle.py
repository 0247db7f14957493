"""A model bundle: a folder with weights.safetensors and card.json that vouch for each other.

The same network may be there once more as ONNX graphs, made by `model.export` for the runtime.

The card carries everything that turns the weights into findings: sizes, preprocessing, statement
names, calibration, thresholds, the normal ECGs' anomaly quantiles, where the weights come from and
what they reached. Saving the same model twice gives the same bytes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.calibration import Logistic, OperatingPoint
from model.datasets.ptbxl import TYPES
from model.errors import BundleError
from model.findings import ModelIdentity
from model.resting.settings import MV_PER_UNIT, STRIDE, WINDOW, Dimensions
from model.signal import BASELINE_CUTOFF_HZ, RATE_HZ

WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.json"
NETWORK_GRAPH, INFLUENCE_GRAPH = "network.onnx", "influence.onnx"
MAX_WEIGHTS_BYTES = 10_000_000  # of each file, the graphs too
MAX_CARD_BYTES = 1_000_000
SHIPPED = Path(__file__).parent / "bundles" / "resting-1"

Tensors = Mapping[str, NDArray[Any]]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Part):
    """What the network expects; a reader that does otherwise must refuse the bundle."""

    rate_hz: int = RATE_HZ
    window_samples: int = WINDOW
    stride_samples: int = STRIDE
    baseline_cutoff_hz: float = BASELINE_CUTOFF_HZ
    mv_per_unit: float = MV_PER_UNIT


class TypeCalibration(_Part):
    """One type: Platt's calibration, and thresholds on the calibrated probability."""

    platt: Logistic
    operating_points: dict[str, OperatingPoint]


class AnomalyCalibration(_Part):
    """How the anomaly components become one score.

    Attributes:
        components: names, in the order of `fusion.weights`.
        fusion: log odds of "not normal" from the components.
        normal_quantiles: the fused log odds of normal ECGs at equally spaced ranks, rising.
        threshold: on the score, that is on the share of normal ECGs below.
    """

    components: tuple[str, ...]
    fusion: Logistic
    normal_quantiles: tuple[float, ...] = Field(min_length=2)
    threshold: float = Field(ge=0, le=1)


class Origin(_Part):
    """Where the weights come from."""

    data: str
    data_sha256: str
    training_folds: tuple[int, ...]
    validation_folds: tuple[int, ...]
    calibration_patients: str
    command: str
    settings: dict[str, float]
    best_epoch: int


class Card(_Part):
    """The content of card.json."""

    format_version: Literal[1] = 1
    name: str
    version: str
    intended_use: str
    dimensions: Dimensions
    preprocessing: Preprocessing
    types: tuple[str, ...]
    statements: tuple[str, ...]
    operating_point: str
    type_calibration: dict[str, TypeCalibration]
    anomaly: AnomalyCalibration
    origin: Origin
    validation: dict[str, float]
    weights_sha256: Sha256
    graphs_sha256: dict[Literal["network.onnx", "influence.onnx"], Sha256] = {}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified card with its tensors, and with the ONNX graphs by file name."""

    card: Card
    tensors: Tensors
    graphs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def identity(self) -> ModelIdentity:
        """Which model this is."""
        return ModelIdentity(self.card.name, self.card.version, self.card.weights_sha256)


def weights_bytes(tensors: Tensors) -> bytes:
    """The content of weights.safetensors; equal tensors give equal bytes."""
    return save({name: np.ascontiguousarray(t) for name, t in sorted(tensors.items())})


def weights_sha256(tensors: Tensors) -> str:
    """What a card must name."""
    return hashlib.sha256(weights_bytes(tensors)).hexdigest()


def save_bundle(folder: Path, bundle: Bundle) -> None:
    """Write all files.

    Raises:
        BundleError: `bundle-too-large`, or `bundle-altered` when the card names other weights.
    """
    weights = weights_bytes(bundle.tensors)
    if len(weights) > MAX_WEIGHTS_BYTES:
        raise BundleError("bundle-too-large", f"{len(weights)} bytes of weights")
    if hashlib.sha256(weights).hexdigest() != bundle.card.weights_sha256:
        raise BundleError("bundle-altered", "the card names other weights")
    _check_graphs(bundle.card, bundle.graphs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(weights)
    for name, graph in bundle.graphs.items():
        (folder / name).write_bytes(graph)
    content = bundle.card.model_dump_json(indent=2) + "\n"
    (folder / CARD_FILE).write_text(content, encoding="utf-8")


def load_bundle(folder: Path = SHIPPED) -> Bundle:
    """Read and verify.

    Raises:
        BundleError: `bundle-missing`, `card-malformed`, `bundle-altered` (weights are not those of
            the card), `preprocessing-unknown`, `types-unknown`.
    """
    card = _card(_read(folder / CARD_FILE, MAX_CARD_BYTES))
    weights = _read(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise BundleError("bundle-altered", "the weights are not those that the card names")
    named: tuple[str, ...] = tuple(card.graphs_sha256)
    graphs = {name: _read(folder / name, MAX_WEIGHTS_BYTES) for name in named}
    _check_graphs(card, graphs)
    try:
        return Bundle(card, load(weights), graphs)
    except SafetensorError as error:
        raise BundleError("bundle-altered", "the weights are not in safetensors format") from error


def _check_graphs(card: Card, graphs: Mapping[str, bytes]) -> None:
    if {n: hashlib.sha256(graph).hexdigest() for n, graph in graphs.items()} != card.graphs_sha256:
        raise BundleError("bundle-altered", "the graphs are not those that the card names")
    if any(len(graph) > MAX_WEIGHTS_BYTES for graph in graphs.values()):
        raise BundleError("bundle-too-large", "a graph is larger than a bundle may hold")


def _card(content: bytes) -> Card:
    try:
        card = Card.model_validate_json(content)
    except ValidationError as error:
        fields = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
        raise BundleError("card-malformed", f"check {', '.join(fields)[:200]}") from error
    if card.preprocessing != Preprocessing():
        raise BundleError("preprocessing-unknown", "this version prepares ECGs differently")
    if card.types != TYPES or set(card.type_calibration) != set(TYPES):
        raise BundleError("types-unknown", f"expected {', '.join(TYPES)}")
    if any(card.operating_point not in c.operating_points for c in card.type_calibration.values()):
        raise BundleError("card-malformed", f"no operating point {card.operating_point!r}")
    return card


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise BundleError("bundle-missing", f"{path} cannot be read") from error
    if len(content) > limit:
        raise BundleError("bundle-too-large", f"{path.name} has more than {limit} bytes")
    return content
