"""From a trained network to a bundle: anomaly views, calibration, thresholds.

The validation fold is split by patient. Even patient numbers calibrate and set thresholds; odd ones
are for figures that depend on them (`calibration_rows` tells the evaluation which is which). The
choice of the best epoch saw both.

    python -m model.resting.freeze --model-path BUNDLE --data-path DIR --version VERSION

fits anew what is around the network of a bundle, and leaves the network as it is. The graphs are
then gone: `hisbundle export` makes them.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.anomaly import COMPONENTS, AnomalyFeatures, AnomalyModel, fit_anomaly
from model.bundle import Bundle, save_bundle, weights_sha256
from model.calibration import calibrates, fit_logistic, operating_points
from model.datasets import ptbxl
from model.datasets.ptbxl import TYPES, PtbXl
from model.errors import DatasetError
from model.observing import observe_dataset
from model.resting.card import (
    AnomalyCalibration,
    Origin,
    Preprocessing,
    RestingBundle,
    RestingCard,
    TypeCalibration,
    load_resting,
)
from model.resting.network import RestingNetwork
from model.resting.reference import trained_network
from model.resting.settings import SELECTED_BY, Settings
from model.resting.support import with_support

CALIBRATION_PATIENTS = "even patient numbers"
OPERATING_POINT = "balanced"
ANOMALY_THRESHOLD = 0.9  # one normal ECG in ten is flagged
_N_QUANTILES = 201
INTENDED_USE = (
    "Research and demonstration only; not a medical device. Flags adult 10 s resting ECGs for "
    "review by a clinician."
)


@dataclass(frozen=True)
class Release:
    """How the bundle is called, where its network comes from, and what that reached."""

    name: str
    version: str
    origin: Origin
    validation: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """How a network was trained; `history` is a line an epoch."""

    command: str
    settings: Settings
    history: Sequence[Mapping[str, float]]


def release_of(name: str, version: str, training: PtbXl, validation: PtbXl, run: Run) -> Release:
    """The release of a run's best epoch."""
    best = max(run.history, key=lambda line: line[SELECTED_BY])
    origin = Origin(
        data="PTB-XL 1.0.3, 100 Hz",
        data_sha256=training.sha256(),
        training_folds=tuple(sorted({int(f) for f in training.fold})),
        validation_folds=tuple(sorted({int(f) for f in validation.fold})),
        calibration_patients=CALIBRATION_PATIENTS,
        command=run.command,
        settings=asdict(run.settings),
        best_epoch=int(best["epoch"]),
    )
    return Release(name, version, origin, {k: v for k, v in best.items() if "auroc" in k})


def calibration_rows(data: PtbXl) -> NDArray[np.bool_]:
    """Rows whose patients calibrate, `(n,)`."""
    return calibrates(data.patient_id)


def freeze(
    network: RestingNetwork, training: PtbXl, validation: PtbXl, release: Release
) -> RestingBundle:
    """Fit everything around the network that the detector needs."""
    normals = training.rows(np.flatnonzero(training.normal))
    anomaly = fit_anomaly(observe_dataset(network, normals))
    fitting = validation.rows(np.flatnonzero(calibration_rows(validation)))
    observed = observe_dataset(network, fitting)
    weights = {f"network.{k}": v.numpy() for k, v in network.state_dict().items()}
    tensors = {**weights, **anomaly.tensors()}
    card = RestingCard(
        name=release.name,
        version=release.version,
        intended_use=INTENDED_USE,
        dimensions=network.dims,
        preprocessing=Preprocessing(),
        types=TYPES,
        statements=training.statement_names,
        operating_point=OPERATING_POINT,
        type_calibration=_type_calibration(fitting, observed),
        anomaly=_anomaly_calibration(anomaly, observed.rows(fitting.normal)),
        lead_support={},
        origin=release.origin,
        validation=dict(release.validation),
        weights_sha256=weights_sha256(tensors),
    )
    return with_support(Bundle(card, tensors), fitting)


def refreeze(
    bundle: RestingBundle, training: PtbXl, validation: PtbXl, version: str
) -> RestingBundle:
    """Fit anew what is around a bundle's network, on the data that the network was trained on.

    Raises:
        DatasetError: `data-differ` when it was trained on other data.
    """
    card = bundle.card
    if training.sha256() != card.origin.data_sha256:
        raise DatasetError("data-differ", "the network was trained on other data")
    again = Release(card.name, version, card.origin, card.validation)
    return freeze(trained_network(bundle), training, validation, again)


def _type_calibration(data: PtbXl, observed: AnomalyFeatures) -> dict[str, TypeCalibration]:
    calibrations = {}
    for i, code in enumerate(TYPES):
        logits = observed.type_logits[:, i : i + 1].astype(np.float64)
        platt = fit_logistic(data.types[:, i], logits)
        points = operating_points(data.types[:, i], platt(logits))
        calibrations[code] = TypeCalibration(platt=platt, operating_points=points)
    return calibrations


def _anomaly_calibration(anomaly: AnomalyModel, normals: AnomalyFeatures) -> AnomalyCalibration:
    fused = anomaly.fused(anomaly.views(normals))
    quantiles = np.quantile(fused, np.linspace(0, 1, _N_QUANTILES))
    return AnomalyCalibration(
        components=COMPONENTS,
        normal_quantiles=tuple(float(q) for q in quantiles),
        threshold=ANOMALY_THRESHOLD,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Refreeze a bundle folder in place."""
    parser = argparse.ArgumentParser(description="Fit anew what is around a bundle's network.")
    parser.add_argument("--model-path", type=Path, required=True, help="bundle folder, overwritten")
    parser.add_argument("--data-path", type=Path, required=True, help="PTB-XL folder")
    parser.add_argument("--cache", type=Path, help="keeps the samples for the next run")
    parser.add_argument("--version", required=True, help="of the new bundle")
    options = parser.parse_args(arguments)
    bundle = load_resting(options.model_path)
    origin = bundle.card.origin
    training, validation = (
        ptbxl.load(options.data_path, folds, options.cache)
        for folds in (origin.training_folds, origin.validation_folds)
    )
    save_bundle(options.model_path, refreeze(bundle, training, validation, options.version))


if __name__ == "__main__":
    main()
