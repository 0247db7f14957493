import json

import numpy as np
import pytest

from model.bundle import CARD_FILE, save_bundle
from model.errors import BundleError
from model.strip.card import BeatCalibration, is_strip, load_strip


@pytest.fixture
def folder(strip_bundle, tmp_path):
    save_bundle(tmp_path / "bundle", strip_bundle)
    return tmp_path / "bundle"


def changed(folder, **fields):
    path = folder / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_bundle_is_what_was_saved(folder, strip_bundle):
    again = load_strip(folder)
    assert again.card == strip_bundle.card
    assert again.identity == strip_bundle.identity


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"classes": ["N", "V", "S", "F", "Q"]}, "types-unknown"),
        ({"anomaly_views": ["restoration"]}, "views-unknown"),
        ({"unheard": 1}, "card-malformed"),
        ({"n_networks": 0}, "card-malformed"),
        ({"weights_sha256": "0" * 64}, "bundle-altered"),
    ],
)
def test_what_this_version_cannot_read_is_refused(folder, fields, reason):
    changed(folder, **fields)
    with pytest.raises(BundleError, match=reason):
        load_strip(folder)


def test_other_preprocessing_is_refused(folder):
    preprocessing = json.loads((folder / CARD_FILE).read_text())["preprocessing"]
    changed(folder, preprocessing=preprocessing | {"rate_hz": 125})
    with pytest.raises(BundleError, match="preprocessing-unknown"):
        load_strip(folder)


def test_which_kind_a_folder_is(folder, tmp_path):
    assert is_strip(folder)
    assert not is_strip(tmp_path / "nowhere")
    changed(folder, name="resting")
    assert not is_strip(folder)


def test_calibration_and_decision():
    calibration = BeatCalibration(slope=0.5, offsets=(0, 1, 0, 0, 0), decision=(0, 0, 2, 0, 0))
    raw = np.log(np.array([[0.5, 0.3, 0.1, 0.05, 0.05]]))
    calibrated = calibration.log_probabilities(raw)
    assert np.exp(calibrated).sum() == pytest.approx(1)
    assert calibrated[0, 1] - calibrated[0, 0] == pytest.approx(1 + 0.5 * np.log(0.6))
    assert calibrated.argmax() == 1
    assert calibration.classes(calibrated).tolist() == [2]
