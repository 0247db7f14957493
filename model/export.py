"""From a trained bundle to one with ONNX graphs, which must give what torch gives.

The gate compares calibrated probabilities, restoration and explanation on ECGs, with every lead
and with half of them. A bundle whose graphs drift further than LIMITS is not written.
"""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import save_bundle
from model.datasets.ptbxl import TYPES
from model.detector import Detector
from model.errors import BundleError
from model.resting.card import INFLUENCE_GRAPH, NETWORK_GRAPH, RestingBundle, load_resting
from model.resting.measured import Array, Measured
from model.resting.reference import TorchRuntime, trained_network
from model.resting.settings import WINDOW
from model.runtime import OnnxRuntime, Runtime
from model.signal import Prepared
from model.streamlined import Influence, Streamlined
from model.through_time import as_scans

OPSET = 20  # the first with Gelu
LIMITS = {
    "type_probability": 1e-3,
    "statement_probability": 1e-3,
    "anomaly_score": 1e-3,
    "restoration_mv": 1e-3,  # of a step's mean error; a recorder's own step is 2.5 uV
    "attention": 1e-3,
    "influence_share": 1e-3,  # of the type's largest influence
}
_EXPLAINED = 8  # ECGs whose influence is compared: each costs as much as a hundred others
_BATCH = 32


def with_graphs(bundle: RestingBundle) -> RestingBundle:
    """The bundle with both graphs and their hashes in its card; nothing is compared."""
    network = trained_network(bundle)
    voltage, visible = torch.zeros(1, 12, WINDOW), torch.ones(1, 12, WINDOW, dtype=torch.bool)
    types = torch.arange(len(TYPES))
    graphs = {
        NETWORK_GRAPH: _graph(
            Streamlined(network),
            {"voltage_mv": voltage, "visible": visible},
            [*Measured.__dataclass_fields__],
            {"voltage_mv": {0: "windows"}, "visible": {0: "windows"}},
        ),
        INFLUENCE_GRAPH: as_scans(
            _graph(
                Influence(network),
                {"voltage_mv": voltage, "visible": visible, "types": types},
                ["influence"],
                {"types": {0: "types"}},
            )
        ),
    }
    hashes = {name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()}
    return replace(
        bundle, card=bundle.card.model_copy(update={"graphs_sha256": hashes}), graphs=graphs
    )


def drift(
    bundle: RestingBundle, ecgs: Array, on_ecg: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Largest difference to eager float32 on `(n, 12, WINDOW)`, by the names of LIMITS."""
    torch_runtime, onnx_runtime = TorchRuntime.of(bundle), OnnxRuntime(bundle)
    reference, shipped = Detector(bundle, torch_runtime), Detector(bundle, onnx_runtime)
    largest = dict.fromkeys(LIMITS, 0.0)
    for start in range(0, len(ecgs), _BATCH):
        voltage_mv = ecgs[start : start + _BATCH]
        for visible in (_all(voltage_mv), _limb_leads(voltage_mv)):
            pieces = [Prepared(v * s, s) for v, s in zip(voltage_mv, visible, strict=True)]
            for name, value in _differences(reference, shipped, pieces).items():
                largest[name] = max(largest[name], value)
        for _ in voltage_mv:
            on_ecg()
    for voltage in ecgs[:_EXPLAINED]:
        difference = _influence_difference(torch_runtime, onnx_runtime, voltage)
        largest["influence_share"] = max(largest["influence_share"], difference)
    return largest


def check(drifts: dict[str, float]) -> None:
    """Stop an export that drifts.

    Raises:
        BundleError: `graph-drifts`.
    """
    # Written so that not-a-number fails too.
    beyond = [f"{name} {drifts[name]:.2g}" for name in LIMITS if not drifts[name] <= LIMITS[name]]
    if beyond:
        raise BundleError("graph-drifts", f"against eager float32: {', '.join(beyond)}")


def export(
    folder: Path, ecgs: Array, on_ecg: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Write graphs into a bundle folder once they passed the gate on `(n, 12, WINDOW)`.

    Raises:
        BundleError: `graph-drifts`, or the folder is not a sound bundle.
    """
    bundle = with_graphs(load_resting(folder))
    drifts = drift(bundle, ecgs, on_ecg)
    check(drifts)
    save_bundle(folder, bundle)
    return drifts


def _graph(
    module: torch.nn.Module,
    inputs: dict[str, Tensor],
    outputs: list[str],
    dynamic: dict[str, dict[int, str]],
) -> bytes:
    """Trace to ONNX; equal weights give equal bytes, on one machine."""
    content = io.BytesIO()
    dynamic = {**dynamic, **{name: {0: "rows"} for name in outputs}}
    with warnings.catch_warnings(), torch.no_grad():
        # The tracing exporter is called legacy, but the newer one needs two more packages, and
        # knows no operator of our own; a changed batch size is what the gate tries.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            content,  # type: ignore[arg-type]  # takes a file, says it takes a path
            input_names=[*inputs],
            output_names=outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            do_constant_folding=False,  # ONNX Runtime folds; here it would double the weights
            dynamo=False,
        )
    return content.getvalue()


def _differences(
    reference: Detector, shipped: Detector, pieces: list[Prepared]
) -> dict[str, float]:
    ours, theirs = reference.measure(pieces), shipped.measure(pieces)
    one, two = reference.judge(ours, pieces), shipped.judge(theirs, pieces)
    return {
        "type_probability": _largest(one.types, two.types),
        "statement_probability": _largest(one.statements, two.statements),
        "anomaly_score": _largest(one.anomaly, two.anomaly),
        "restoration_mv": _largest(ours.residual_mv, theirs.residual_mv),
        "attention": _largest(ours.attention, theirs.attention),
    }


def _influence_difference(reference: Runtime, shipped: Runtime, voltage_mv: Array) -> float:
    """Share of each type's largest influence; the reference is autograd."""
    visible, types = np.ones(voltage_mv.shape, np.bool_), range(len(TYPES))
    one = reference.influence(voltage_mv, visible, types)
    two = shipped.influence(voltage_mv, visible, types)
    peak = np.maximum(np.abs(one).max(axis=(1, 2), keepdims=True), 1e-9)
    return _largest(one / peak, two / peak)


def _largest(one: NDArray[np.floating], two: NDArray[np.floating]) -> float:
    return float(np.abs(one - two).max())


def _all(voltage_mv: Array) -> NDArray[np.bool_]:
    return np.ones(voltage_mv.shape, np.bool_)


def _limb_leads(voltage_mv: Array) -> NDArray[np.bool_]:
    visible = _all(voltage_mv)
    visible[:, 6:] = False
    return visible
