"""The strip bundle: networks trained on all of DS1, calibrated on what the folds said unseen.

Calibration, decision offsets and the anomaly's scales are those of all out-of-fold answers; the
networks they are used with saw every patient of DS1, and as many networks are averaged.
"""

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from model.bundle import save_bundle, weights_sha256
from model.errors import BundleError
from model.findings import AAMI_CLASSES
from model.strip.af import AfModel
from model.strip.anomaly import VIEWS, AnomalyScale
from model.strip.card import (
    GRAPH,
    NAME,
    BeatCalibration,
    Origin,
    Preprocessing,
    StripBundle,
    StripCard,
    load_strip,
)
from model.strip.cross_validation import Sources
from model.strip.detector import open_graph
from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW
from model.strip.network import BeatNetwork
from model.strip.normals import train_restorer
from model.strip.reading import ABSENT, Measure, Measured, SequenceBatch
from model.strip.reference import Ensemble, from_tensors
from model.strip.settings import SEQUENCE, Dimensions, Settings
from model.strip.streamlined import streamlined
from model.strip.teachers import annotated, edited_records
from model.strip.training import Teachers, train

VERSION = "1.0.0"
INTENDED_USE = (
    "Research and demonstration only; not a medical device. Classes beats and tells rhythms of "
    "adult strips of 1-12 leads for review by a clinician."
)
MAX_DRIFT = 1e-3  # of probabilities, attention and errors, against eager float32
_OPSET = 20
_DRIFT_BATCH = 16


def trained_ensemble(
    sources: Sources,
    settings: Settings,
    seeds: Sequence[int],
    run_dir: Path,
    *,
    resume: bool = False,
    on_epoch: Callable[[int, int, float], None] = lambda *_: None,
) -> Ensemble:
    """Train one network a seed and the restoration; finished networks are kept in `run_dir`.

    With `resume`, networks that are there are not trained again.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    beats = annotated(sources.records)
    teachers = Teachers(beats, edited_records(sources.records), sources.strips, sources.noise)
    networks = []
    for seed in seeds:
        path = run_dir / f"seed{seed}.safetensors"
        network = BeatNetwork(Dimensions())
        if not (resume and path.exists()):
            network = train(
                teachers,
                replace(settings, seed=seed),
                on_epoch=partial(on_epoch, seed),
            )
            save_file(network.state_dict(), path)
        network.load_state_dict(load_file(path))
        networks.append(network.eval())
    return Ensemble(networks, train_restorer(beats, seed=0)).eval()


def frozen(
    ensemble: Ensemble,
    af: AfModel,
    calibration: BeatCalibration,
    anomaly: AnomalyScale,
    origin: Origin,
) -> StripBundle:
    """The bundle with its graph, which must give what torch gives.

    Raises:
        BundleError: `graph-drifts`.
    """
    tensors = ensemble.tensors() | af.tensors()
    card = StripCard(
        name=NAME,
        version=VERSION,
        intended_use=INTENDED_USE,
        weights_sha256=weights_sha256(tensors),
        dimensions=Dimensions(),
        n_networks=len(ensemble.networks),
        preprocessing=Preprocessing(),
        classes=AAMI_CLASSES,
        calibration=calibration,
        anomaly_views=VIEWS,
        anomaly=anomaly,
        origin=origin,
    )
    return _with_graph(StripBundle(card, tensors), ensemble)[0]


def export(folder: Path) -> float:
    """Write the graph of a bundle folder anew from its weights; return its drift.

    Raises:
        BundleError: `graph-drifts`, or the folder is not a sound bundle.
    """
    bundle = load_strip(folder)
    bundle, found = _with_graph(bundle, ensemble_of(bundle))
    save_bundle(folder, bundle)
    return found


def _with_graph(bundle: StripBundle, ensemble: Ensemble) -> tuple[StripBundle, float]:
    """The bundle with its graph and the graph's hash, and how far the graph drifts."""
    graph = graph_of(ensemble)
    hashes = {GRAPH: hashlib.sha256(graph).hexdigest()}
    card = bundle.card.model_copy(update={"graphs_sha256": hashes})
    bundle = StripBundle(card, bundle.tensors, {GRAPH: graph})
    found = drift(open_graph(bundle), ensemble.measure)
    if not found <= MAX_DRIFT:
        raise BundleError("graph-drifts", f"{found:.2g} against eager float32")
    return bundle, found


def origin_of(records: Sequence[str], seeds: Sequence[int], settings: Settings) -> Origin:
    """Where a bundle comes from that these records and seeds made."""
    chosen = {k: float(v) for k, v in asdict(settings).items() if k != "seed"}
    return Origin(
        annotated="MIT-BIH Arrhythmia Database, DS1",
        annotated_records=tuple(records),
        weak="PTB-XL 1.0.3, folds 1-8: strips with and without premature beats",
        command=f"hisbundle train --model strip --data-path DIR --epochs {settings.epochs}",
        settings=chosen,
        seeds=tuple(seeds),
    )


def graph_of(ensemble: Ensemble) -> bytes:
    """The ensemble as ONNX, any number of beats and sequences."""
    content = io.BytesIO()
    inputs = [torch.from_numpy(part) for part in _drawn(2, seed=0)]
    names, outputs = list(SequenceBatch._fields), list(Measured._fields)
    counted = dict.fromkeys([*names, *outputs], "beats")
    counted |= dict.fromkeys(["rows", *outputs[:3]], "sequences")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracing exporter is called legacy
        torch.onnx.export(
            streamlined(ensemble),
            tuple(inputs),
            content,  # type: ignore[arg-type]  # takes a file, says it takes a path
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: axis} for name, axis in counted.items()},
            opset_version=_OPSET,
            dynamo=False,
        )
    return content.getvalue()


def drift(shipped: Measure, reference: Measure) -> float:
    """Largest difference on random beats, some of them absent."""
    batch = _drawn(_DRIFT_BATCH, seed=1)
    pairs = zip(shipped(batch), reference(batch), strict=True)
    return max(float(np.abs(one - two).max()) for one, two in pairs)


def ensemble_of(bundle: StripBundle) -> Ensemble:
    """The networks of a bundle in torch.

    Raises:
        BundleError: `bundle-altered`.
    """
    return from_tensors(bundle.tensors, bundle.card.dimensions, bundle.card.n_networks)


def _drawn(n_sequences: int, seed: int) -> SequenceBatch:
    generator = np.random.default_rng(seed)
    n = n_sequences * SEQUENCE

    def draw(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return generator.normal(0, 0.5, (n, *shape)).astype(np.float32)

    rows = generator.integers(0, n, (n_sequences, SEQUENCE))
    rows[generator.random(rows.shape) < 0.1] = ABSENT
    return SequenceBatch(draw(2, WINDOW), draw(2 * N_TRAITS), draw(N_RHYTHM), rows)
