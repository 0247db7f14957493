"""A model bundle: a folder with weights.safetensors and card.json that vouch for each other.

The same network may be there once more as ONNX graphs for the runtime. Each kind of model has its
own card, a subclass of `BundleCard`, which carries everything that turns the weights into findings.
Saving the same model twice gives the same bytes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from model.errors import BundleError
from model.findings import ModelIdentity

WEIGHTS_FILE, CARD_FILE = "weights.safetensors", "card.json"
MAX_WEIGHTS_BYTES = 10_000_000  # of each file, the graphs too
MAX_CARD_BYTES = 1_000_000
MAX_GRAPHS = 4
BUNDLES = Path(__file__).parent / "bundles"

Tensors = Mapping[str, NDArray[Any]]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
GraphName = Annotated[str, Field(pattern=r"^[a-z_]+\.onnx$")]  # never a path


class Part(BaseModel):
    """Part of a card: nothing unknown in it, nothing changed after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleCard(Part):
    """What the card of every kind of model says."""

    name: str
    version: str
    intended_use: str
    weights_sha256: Sha256
    graphs_sha256: dict[GraphName, Sha256] = Field({}, max_length=MAX_GRAPHS)

    def check(self) -> None:
        """Refuse what is well formed, but not what this version can work with.

        Raises:
            BundleError: with a reason of the card's own.
        """


CardT = TypeVar("CardT", bound=BundleCard)


@dataclass(frozen=True, eq=False)
class Bundle(Generic[CardT]):
    """A verified card with its tensors, and with the ONNX graphs by file name."""

    card: CardT
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


def save_bundle(folder: Path, bundle: Bundle[CardT]) -> None:
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


def load_bundle(folder: Path, card_type: type[CardT]) -> Bundle[CardT]:
    """Read and verify.

    Raises:
        BundleError: `bundle-missing`, `bundle-too-large`, `card-malformed`, `bundle-altered`
            (weights or graphs are not those of the card), or what the card's own check says.
    """
    card = _card(_read(folder / CARD_FILE, MAX_CARD_BYTES), card_type)
    weights = _read(folder / WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    if hashlib.sha256(weights).hexdigest() != card.weights_sha256:
        raise BundleError("bundle-altered", "the weights are not those that the card names")
    graphs = {name: _read(folder / name, MAX_WEIGHTS_BYTES) for name in card.graphs_sha256}
    _check_graphs(card, graphs)
    try:
        return Bundle(card, load(weights), graphs)
    except SafetensorError as error:
        raise BundleError("bundle-altered", "the weights are not in safetensors format") from error


def _check_graphs(card: BundleCard, graphs: Mapping[str, bytes]) -> None:
    if {n: hashlib.sha256(graph).hexdigest() for n, graph in graphs.items()} != card.graphs_sha256:
        raise BundleError("bundle-altered", "the graphs are not those that the card names")
    if any(len(graph) > MAX_WEIGHTS_BYTES for graph in graphs.values()):
        raise BundleError("bundle-too-large", "a graph is larger than a bundle may hold")


def _card(content: bytes, card_type: type[CardT]) -> CardT:
    try:
        card = card_type.model_validate_json(content)
    except ValidationError as error:
        fields = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
        raise BundleError("card-malformed", f"check {', '.join(fields)[:200]}") from error
    card.check()
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
