"""What runs the network: ONNX Runtime as shipped, torch as the reference.

A session has one thread of its own and holds no state between calls: threads may share it. Several
ECGs at once are better served by several threads than by one call on many cores.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.errors import BundleError
from model.resting.card import INFLUENCE_GRAPH, NETWORK_GRAPH, RestingBundle
from model.resting.measured import Array, Measured
from model.resting.settings import STRIDE

MAX_BATCH = 32  # windows a call: more is no faster, and a long ECG must not take all memory


class Runtime(Protocol):
    """Looks at windows of WINDOW samples."""

    def measure(self, voltage_mv: Array, visible: NDArray[np.bool_]) -> Measured:
        """Read and restore `(B, 12, T)`, any B above 0."""

    def influence(
        self, voltage_mv: Array, visible: NDArray[np.bool_], types: Sequence[int]
    ) -> NDArray[np.float64]:
        """|gradient x voltage| of some types' logits for one window `(12, T)`: `(K, 12, S)`."""


class OnnxRuntime:
    """ONNX Runtime on the graphs that `model.export` wrote into the bundle."""

    def __init__(self, bundle: RestingBundle, threads: int = 1) -> None:
        """Open a session a graph.

        Raises:
            BundleError: `graph-missing`, or `graph-malformed`.
        """
        self._network = _session(bundle, NETWORK_GRAPH, threads)
        self._influence = _session(bundle, INFLUENCE_GRAPH, threads)

    def measure(self, voltage_mv: Array, visible: NDArray[np.bool_]) -> Measured:
        """Read and restore `(B, 12, T)`, MAX_BATCH windows a call."""
        parts = []
        for start in range(0, len(voltage_mv), MAX_BATCH):
            rows = slice(start, start + MAX_BATCH)
            feeds = {"voltage_mv": voltage_mv[rows], "visible": visible[rows]}
            parts.append(Measured(*self._network.run(None, feeds)))
        return parts[0] if len(parts) == 1 else Measured.joined(parts)

    def influence(
        self, voltage_mv: Array, visible: NDArray[np.bool_], types: Sequence[int]
    ) -> NDArray[np.float64]:
        """All types in one pass back through the network."""
        if not types:
            return np.zeros((0, len(voltage_mv), voltage_mv.shape[1] // STRIDE))
        feeds = {
            "voltage_mv": voltage_mv[None],
            "visible": visible[None],
            "types": np.array(types, np.int64),
        }
        found: NDArray[np.float64] = self._influence.run(None, feeds)[0].astype(np.float64)
        return found


def open_runtime(bundle: RestingBundle) -> Runtime:
    """ONNX Runtime where the bundle has graphs; else torch, which only then is imported."""
    if bundle.graphs:
        return OnnxRuntime(bundle)
    from model.resting.reference import TorchRuntime  # noqa: PLC0415

    return TorchRuntime.of(bundle)


def _session(bundle: RestingBundle, name: str, threads: int) -> onnxruntime.InferenceSession:
    if name not in bundle.graphs:
        raise BundleError("graph-missing", f"the bundle has no {name}; hisbundle export makes it")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin while they wait would take the core of the next ECG.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            bundle.graphs[name], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        raise BundleError("graph-malformed", f"{name} cannot be opened") from error
