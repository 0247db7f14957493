import numpy as np
import pytest
import torch

from model.bundle import save_bundle
from model.datasets import ptbxl
from model.detector import Detector
from model.resting.card import load_resting
from model.resting.freeze import Release, calibration_rows, freeze, measure_dataset
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions, Settings
from tests.ptbxl_folder import write_ptbxl

HISTORY = [
    {"epoch": 0, "macro_auroc_types": 0.6, "seconds": 1.0},
    {"epoch": 1, "macro_auroc_types": 0.8, "seconds": 1.0},
    {"epoch": 2, "macro_auroc_types": 0.7, "seconds": 1.0},
]
RELEASE = Release("trial", "0.1", "hisbundle train", Settings(seed=4), HISTORY)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 24, folds=(1, 9))
    return ptbxl.load(folder, (1,)), ptbxl.load(folder, (9,))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return RestingNetwork(Dimensions(n_statements=8, lstm_width=16)).eval()


@pytest.fixture(scope="module")
def bundle(network, data):
    return freeze(network, *data, RELEASE)


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
    again = freeze(network, *data, RELEASE)
    assert again.identity == bundle.identity


def test_half_of_the_patients_calibrate(data):
    rows = calibration_rows(data[1])
    assert 0.3 < rows.mean() < 0.7
    assert not set(data[1].patient_id[rows]) & set(data[1].patient_id[~rows])


def test_only_calibrating_patients_count(bundle, network, data):
    train, validation = data
    changed = validation.rows(np.arange(len(validation.ecg_id)))
    changed.types[~calibration_rows(changed)] = False
    again = freeze(network, train, changed, RELEASE).card
    assert again.type_calibration == bundle.card.type_calibration
    assert again.anomaly == bundle.card.anomaly


def test_quantiles_are_the_normals_own(bundle, network, data):
    anomaly = bundle.card.anomaly
    quantiles = np.array(anomaly.normal_quantiles)
    assert (np.diff(quantiles) >= 0).all()
    assert len(quantiles) == 201
    normals = data[1].rows(calibration_rows(data[1]) & data[1].normal)
    detector = Detector(bundle)
    scores = detector.judge(measure_dataset(network, normals)).anomaly
    assert scores.min() == 0
    assert scores.max() == 1
