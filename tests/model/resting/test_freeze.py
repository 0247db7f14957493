import numpy as np
import pytest
import torch

from model.anomaly import AnomalyModel, fit_anomaly
from model.bundle import save_bundle
from model.datasets import ptbxl
from model.detector import Detector
from model.errors import DatasetError
from model.observing import observe_dataset
from model.resting.card import load_resting
from model.resting.freeze import Run, calibration_rows, freeze, main, refreeze, release_of
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions, Settings
from tests.ptbxl_folder import write_ptbxl

HISTORY = [
    {"epoch": 0, "macro_auroc_types": 0.6, "seconds": 1.0},
    {"epoch": 1, "macro_auroc_types": 0.8, "seconds": 1.0},
    {"epoch": 2, "macro_auroc_types": 0.7, "seconds": 1.0},
]
RUN = Run("hisbundle train", Settings(seed=4), HISTORY)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 24, folds=(1, 9))


@pytest.fixture(scope="module")
def data(folder):
    return ptbxl.load(folder, (1,)), ptbxl.load(folder, (9,))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RestingNetwork(Dimensions(n_statements=8, lstm_width=16)).eval()


@pytest.fixture(scope="module")
def bundle(network, data):
    return freeze(network, *data, release_of("trial", "0.1", *data, RUN))


def test_the_card_says_where_it_comes_from(bundle, data):
    card = bundle.card
    assert (card.name, card.version) == ("trial", "0.1")
    assert card.origin.best_epoch == 1
    assert card.validation == {"macro_auroc_types": 0.8}
    assert card.origin.data_sha256 == data[0].sha256()
    assert (card.origin.training_folds, card.origin.validation_folds) == ((1,), (9,))
    assert card.origin.settings["seed"] == 4
    assert card.statements == data[0].statement_names


def test_the_bundle_can_be_saved_loaded_and_used(bundle, tmp_path):
    save_bundle(tmp_path, bundle)
    detector = Detector(load_resting(tmp_path))
    assert detector.identity == bundle.identity
    assert detector.card.dimensions.lstm_width == 16


def test_freezing_again_gives_the_same_bundle(bundle, network, data):
    again = freeze(network, *data, release_of("trial", "0.1", *data, RUN))
    assert again.identity == bundle.identity


def test_half_of_the_patients_calibrate(data):
    rows = calibration_rows(data[1])
    assert 0.3 < rows.mean() < 0.7
    assert not set(data[1].patient_id[rows]) & set(data[1].patient_id[~rows])


def test_only_calibrating_patients_count(bundle, network, data):
    train, validation = data
    changed = validation.rows(np.arange(len(validation.ecg_id)))
    changed.types[~calibration_rows(changed)] = False
    again = freeze(network, train, changed, release_of("trial", "0.1", *data, RUN)).card
    assert again.type_calibration == bundle.card.type_calibration
    assert again.anomaly == bundle.card.anomaly


def test_quantiles_are_the_normals_own(bundle, network, data):
    anomaly = bundle.card.anomaly
    quantiles = np.array(anomaly.normal_quantiles)
    assert (np.diff(quantiles) >= 0).all()
    assert len(quantiles) == 201
    normals = data[1].rows(np.flatnonzero(calibration_rows(data[1]) & data[1].normal))
    model = AnomalyModel.from_tensors(bundle.tensors)
    fused = model.fused(model.views(observe_dataset(network, normals)))
    assert (fused.min(), fused.max()) == pytest.approx((quantiles[0], quantiles[-1]), rel=1e-5)


def test_anomaly_is_fitted_on_normal_training_ecgs(bundle, network, data):
    normals = data[0].rows(np.flatnonzero(data[0].normal))
    expected = fit_anomaly(observe_dataset(network, normals)).tensors()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(bundle.tensors[name], tensor)


def test_refreezing_changes_nothing_but_the_version(bundle, data):
    again = refreeze(bundle, *data, "0.2")
    assert again.card == bundle.card.model_copy(update={"version": "0.2"})


def test_a_bundle_of_other_data_is_not_refrozen(bundle, data):
    with pytest.raises(DatasetError, match="data-differ"):
        refreeze(bundle, data[1], data[1], "0.2")


def test_the_command_refreezes_a_folder_in_place(bundle, folder, tmp_path):
    save_bundle(tmp_path, bundle)
    main(["--model-path", str(tmp_path), "--data-path", str(folder), "--version", "0.2"])
    again = load_resting(tmp_path)
    assert (again.card.version, again.graphs) == ("0.2", {})
    assert again.card.weights_sha256 == bundle.card.weights_sha256
