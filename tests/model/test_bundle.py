import hashlib
import json
import shutil

import numpy as np
import pytest

from model import bundle
from model.bundle import SHIPPED, Bundle, load_bundle, save_bundle, weights_sha256
from model.errors import BundleError


@pytest.fixture(scope="module")
def shipped():
    return load_bundle()


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def edit(folder, change):
    path = folder / "card.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def refused(folder):
    with pytest.raises(BundleError) as raised:
        load_bundle(folder)
    return raised.value.reason


def test_the_shipped_bundle_is_sound_small_and_says_who_it_is(shipped):
    assert shipped.identity.name == "resting"
    assert shipped.identity.sha256 == weights_sha256(shipped.tensors)
    assert (SHIPPED / "weights.safetensors").stat().st_size < 10_000_000
    assert shipped.card.origin.training_folds == tuple(range(1, 9))
    assert shipped.card.origin.validation_folds == (9,)


def test_saving_again_gives_the_same_bytes(shipped, tmp_path):
    save_bundle(tmp_path, shipped)
    for name in ("weights.safetensors", "card.json"):
        assert (tmp_path / name).read_bytes() == (SHIPPED / name).read_bytes()


def test_what_was_saved_is_loaded(shipped, tmp_path):
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
    hashes = {"weights_sha256": weights_sha256(tensors), "graphs_sha256": {}}
    card = shipped.card.model_copy(update=hashes)
    save_bundle(tmp_path / "new" / "folder", Bundle(card, tensors))
    loaded = load_bundle(tmp_path / "new" / "folder")
    assert loaded.card == card
    assert {k: v.tolist() for k, v in loaded.tensors.items()} == {
        "a": [0, 1, 2],
        "b": [[1, 1], [1, 1]],
    }


def test_the_order_of_tensors_does_not_change_the_hash():
    one, two = np.zeros(2, np.float32), np.ones(3, np.float32)
    assert weights_sha256({"a": one, "b": two}) == weights_sha256({"b": two, "a": one})


def test_a_card_of_other_weights_is_not_saved(shipped, tmp_path):
    with pytest.raises(BundleError, match="bundle-altered"):
        save_bundle(tmp_path, Bundle(shipped.card, {"a": np.zeros(1, np.float32)}))
    assert not list(tmp_path.iterdir())


def test_too_many_weights_are_not_saved(shipped, tmp_path):
    tensors = {"a": np.zeros(2_500_001, np.float32)}
    with pytest.raises(BundleError, match="bundle-too-large"):
        save_bundle(tmp_path, Bundle(shipped.card, tensors))


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_both_files_are_needed(folder, name):
    (folder / name).unlink()
    assert refused(folder) == "bundle-missing"


def test_one_changed_byte_is_noticed(folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert refused(folder) == "bundle-altered"


def test_weights_of_another_format_are_refused_even_with_the_right_hash(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(b"not safetensors")
    sha256 = hashlib.sha256(b"not safetensors").hexdigest()
    edit(folder, lambda card: card.update(weights_sha256=sha256))
    with pytest.raises(BundleError, match="not in safetensors format"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_a_huge_file_is_not_read_to_its_end(folder, name, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_WEIGHTS_BYTES", 1_000)
    monkeypatch.setattr(bundle, "MAX_CARD_BYTES", 1_000 if name == "card.json" else 100_000)
    assert refused(folder) == "bundle-too-large"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.pop("anomaly"), "card-malformed"),
        (lambda c: c.update(extra=1), "card-malformed"),
        (lambda c: c.update(format_version=2), "card-malformed"),
        (lambda c: c.update(weights_sha256="short"), "card-malformed"),
        (lambda c: c.update(operating_point="best"), "card-malformed"),
        (lambda c: c["anomaly"].update(threshold=1.5), "card-malformed"),
        (lambda c: c["dimensions"].update(lstm_width="wide"), "card-malformed"),
        (lambda c: c["preprocessing"].update(rate_hz=500), "preprocessing-unknown"),
        (lambda c: c.update(types=["NORM", "MI"]), "types-unknown"),
        (lambda c: c["type_calibration"].pop("MI"), "types-unknown"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, change, reason):
    edit(folder, change)
    assert refused(folder) == reason


def test_a_card_that_is_no_json_is_refused(folder):
    (folder / "card.json").write_text("{")
    assert refused(folder) == "card-malformed"
