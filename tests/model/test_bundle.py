import hashlib
import json

import numpy as np
import pytest

from model import bundle
from model.bundle import Bundle, BundleCard, load_bundle, save_bundle, weights_sha256
from model.errors import BundleError

TENSORS = {"a": np.arange(3, dtype=np.float32), "b": np.ones((2, 2), np.float32)}
GRAPHS = {"network.onnx": b"a graph"}


class FruitCard(BundleCard):
    colour: str

    def check(self):
        if self.colour == "blue":
            raise BundleError("colour-unknown", "there is no blue fruit")


def small(**changes):
    known = {
        "name": "fruit",
        "version": "1.0",
        "intended_use": "none",
        "weights_sha256": weights_sha256(TENSORS),
        "graphs_sha256": {n: hashlib.sha256(g).hexdigest() for n, g in GRAPHS.items()},
        "colour": "red",
    }
    return Bundle(FruitCard(**{**known, **changes}), TENSORS, GRAPHS)


@pytest.fixture
def folder(tmp_path):
    save_bundle(tmp_path / "new" / "folder", small())
    return tmp_path / "new" / "folder"


def edit(folder, change):
    path = folder / "card.json"
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def refused(folder):
    with pytest.raises(BundleError) as raised:
        load_bundle(folder, FruitCard)
    return raised.value.reason


def test_what_was_saved_is_loaded(folder):
    loaded = load_bundle(folder, FruitCard)
    assert loaded.card == small().card
    assert loaded.graphs == GRAPHS
    assert {k: v.tolist() for k, v in loaded.tensors.items()} == {
        "a": [0, 1, 2],
        "b": [[1, 1], [1, 1]],
    }


def test_a_bundle_says_who_it_is(folder):
    identity = load_bundle(folder, FruitCard).identity
    assert (identity.name, identity.version) == ("fruit", "1.0")
    assert (
        identity.sha256 == hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    )


def test_saving_again_gives_the_same_bytes(folder, tmp_path):
    save_bundle(tmp_path / "again", load_bundle(folder, FruitCard))
    for name in ("weights.safetensors", "card.json", "network.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_order_of_tensors_does_not_change_the_hash():
    one, two = np.zeros(2, np.float32), np.ones(3, np.float32)
    assert weights_sha256({"a": one, "b": two}) == weights_sha256({"b": two, "a": one})


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": "0" * 64},
        {"graphs_sha256": {}},
        {"graphs_sha256": {"other.onnx": "0" * 64}},
    ],
)
def test_a_card_of_other_files_is_not_saved(tmp_path, changes):
    with pytest.raises(BundleError, match="bundle-altered"):
        save_bundle(tmp_path, small(**changes))
    assert not list(tmp_path.iterdir())


def test_too_many_weights_are_not_saved(tmp_path):
    tensors = {"a": np.zeros(2_500_001, np.float32)}
    with pytest.raises(BundleError, match="bundle-too-large"):
        save_bundle(tmp_path, Bundle(small().card, tensors))


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json", "network.onnx"])
def test_every_file_is_needed(folder, name):
    (folder / name).unlink()
    assert refused(folder) == "bundle-missing"


@pytest.mark.parametrize("name", ["weights.safetensors", "network.onnx"])
def test_one_changed_byte_is_noticed(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert refused(folder) == "bundle-altered"


def test_weights_of_another_format_are_refused_even_with_the_right_hash(folder):
    (folder / "weights.safetensors").write_bytes(b"not safetensors")
    sha256 = hashlib.sha256(b"not safetensors").hexdigest()
    edit(folder, lambda card: card.update(weights_sha256=sha256))
    with pytest.raises(BundleError, match="not in safetensors format"):
        load_bundle(folder, FruitCard)


@pytest.mark.parametrize("limit", ["MAX_WEIGHTS_BYTES", "MAX_CARD_BYTES"])
def test_a_huge_file_is_not_read_to_its_end(folder, limit, monkeypatch):
    monkeypatch.setattr(bundle, limit, 20)
    assert refused(folder) == "bundle-too-large"


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("colour"),
        lambda c: c.update(extra=1),
        lambda c: c.update(weights_sha256="short"),
        lambda c: c.update(graphs_sha256={"../network.onnx": "0" * 64}),
        lambda c: c.update(graphs_sha256={f"{x}.onnx": "0" * 64 for x in "abcde"}),
    ],
)
def test_a_card_that_is_malformed_is_refused(folder, change):
    edit(folder, change)
    assert refused(folder) == "card-malformed"


def test_a_card_that_is_no_json_is_refused(folder):
    (folder / "card.json").write_text("{")
    assert refused(folder) == "card-malformed"


def test_a_kind_of_card_has_its_own_check(folder):
    edit(folder, lambda card: card.update(colour="blue"))
    assert refused(folder) == "colour-unknown"


def test_a_card_of_another_kind_is_refused(folder):
    with pytest.raises(BundleError, match="card-malformed: check colour"):
        load_bundle(folder, BundleCard)
