import json
import shutil

import numpy as np
import pytest

from model.anomaly import COMPONENTS
from model.bundle import save_bundle, weights_sha256
from model.errors import BundleError
from model.resting.card import SHIPPED, AnomalyCalibration, load_resting


@pytest.fixture(scope="module")
def shipped():
    return load_resting()


def test_the_shipped_bundle_is_sound_small_and_says_who_it_is(shipped):
    assert shipped.identity.name == "resting"
    assert shipped.identity.sha256 == weights_sha256(shipped.tensors)
    assert (SHIPPED / "weights.safetensors").stat().st_size < 10_000_000
    assert shipped.card.origin.training_folds == tuple(range(1, 9))
    assert shipped.card.origin.validation_folds == (9,)


def test_saving_again_gives_the_same_bytes(shipped, tmp_path):
    save_bundle(tmp_path, shipped)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written.keys() >= {"card.json", "weights.safetensors"}
    assert written == {name: (SHIPPED / name).read_bytes() for name in written}


def test_the_score_is_the_share_of_normals_below():
    calibration = AnomalyCalibration(
        components=COMPONENTS, normal_quantiles=(1.0, 3.0, 5.0), threshold=0.9
    )
    fused = np.array([-9.0, 1.0, 2.0, 3.0, 5.0, 9.0])
    shares = calibration.share_of_normals_below(fused)
    np.testing.assert_allclose(shares, [0, 0, 0.25, 0.5, 1.0, 1.0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.pop("anomaly"), "card-malformed"),
        (lambda c: c.update(format_version=99), "card-malformed"),
        (lambda c: c.update(operating_point="best"), "card-malformed"),
        (lambda c: c["anomaly"].update(threshold=1.5), "card-malformed"),
        (lambda c: c["anomaly"].update(components=["restoration"]), "views-unknown"),
        (lambda c: c["dimensions"].update(lstm_width="wide"), "card-malformed"),
        (lambda c: c["preprocessing"].update(rate_hz=500), "preprocessing-unknown"),
        (lambda c: c.update(types=["NORM", "MI"]), "types-unknown"),
        (lambda c: c["type_calibration"].pop("MI"), "types-unknown"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(tmp_path, change, reason):
    folder = shutil.copytree(SHIPPED, tmp_path / "bundle")
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError) as raised:
        load_resting(folder)
    assert raised.value.reason == reason
