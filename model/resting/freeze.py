"""From a trained network to a bundle: normals' codes, calibration, thresholds.

The validation fold is split by patient. Even patient numbers calibrate and set thresholds; odd ones
are for figures that depend on them (`calibration_rows` tells the evaluation which is which). The
choice of the best epoch saw both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle, weights_sha256
from model.calibration import fit_logistic, operating_points
from model.datasets.ptbxl import TYPES, PtbXl, millivolts
from model.resting.anomaly import COMPONENTS, NormalCodes, components
from model.resting.card import (
    AnomalyCalibration,
    Origin,
    Preprocessing,
    RestingBundle,
    RestingCard,
    TypeCalibration,
)
from model.resting.measured import Measured
from model.resting.network import RestingNetwork
from model.resting.reading import measure_all
from model.resting.settings import SELECTED_BY, Settings
from model.signal import remove_baseline

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
    """How the bundle is called and how it was trained; `history` is a line an epoch."""

    name: str
    version: str
    command: str
    settings: Settings
    history: Sequence[Mapping[str, float]]


def calibration_rows(data: PtbXl) -> NDArray[np.bool_]:
    """Rows whose patients calibrate, `(n,)`."""
    rows: NDArray[np.bool_] = data.patient_id % 2 == 0
    return rows


def freeze(
    network: RestingNetwork, training: PtbXl, validation: PtbXl, release: Release
) -> RestingBundle:
    """Fit everything around the network that the detector needs."""
    normals = training.rows(np.flatnonzero(training.normal))
    codes = NormalCodes.fit(measure_dataset(network, normals).morphology)
    fitting = validation.rows(np.flatnonzero(calibration_rows(validation)))
    measured = measure_dataset(network, fitting)
    best = max(release.history, key=lambda line: line[SELECTED_BY])
    weights = {f"network.{k}": v.numpy() for k, v in network.state_dict().items()}
    tensors = {**weights, **codes.tensors()}
    card = RestingCard(
        name=release.name,
        version=release.version,
        intended_use=INTENDED_USE,
        dimensions=network.dims,
        preprocessing=Preprocessing(),
        types=TYPES,
        statements=training.statement_names,
        operating_point=OPERATING_POINT,
        type_calibration=_type_calibration(fitting, measured),
        anomaly=_anomaly_calibration(fitting, measured, codes),
        origin=_origin(training, validation, release, best),
        validation={name: value for name, value in best.items() if "auroc" in name},
        weights_sha256=weights_sha256(tensors),
    )
    return Bundle(card, tensors)


def measure_dataset(network: RestingNetwork, data: PtbXl) -> Measured:
    """Read all leads of all rows."""
    voltage = remove_baseline(millivolts(data.voltage_uv))
    return measure_all(network, voltage, np.ones(voltage.shape, np.bool_))


def _origin(
    training: PtbXl, validation: PtbXl, release: Release, best: Mapping[str, float]
) -> Origin:
    return Origin(
        data="PTB-XL 1.0.3, 100 Hz",
        data_sha256=training.sha256(),
        training_folds=tuple(sorted({int(f) for f in training.fold})),
        validation_folds=tuple(sorted({int(f) for f in validation.fold})),
        calibration_patients=CALIBRATION_PATIENTS,
        command=release.command,
        settings=asdict(release.settings),
        best_epoch=int(best["epoch"]),
    )


def _type_calibration(data: PtbXl, measured: Measured) -> dict[str, TypeCalibration]:
    calibrations = {}
    for i, code in enumerate(TYPES):
        logits = measured.type_logits[:, i : i + 1].astype(np.float64)
        platt = fit_logistic(data.types[:, i], logits)
        points = operating_points(data.types[:, i], platt(logits))
        calibrations[code] = TypeCalibration(platt=platt, operating_points=points)
    return calibrations


def _anomaly_calibration(data: PtbXl, measured: Measured, codes: NormalCodes) -> AnomalyCalibration:
    views = components(measured, codes)
    fusion = fit_logistic(~data.normal, views)
    quantiles = np.quantile(fusion.decision(views[data.normal]), np.linspace(0, 1, _N_QUANTILES))
    return AnomalyCalibration(
        components=COMPONENTS,
        fusion=fusion,
        normal_quantiles=tuple(float(q) for q in quantiles),
        threshold=ANOMALY_THRESHOLD,
    )
