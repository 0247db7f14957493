from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from model.bundle import save_bundle
from model.errors import BundleError
from model.strip import release
from model.strip.batches import Strips
from model.strip.card import load_strip
from model.strip.cross_validation import Sources
from model.strip.detector import open_graph
from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW
from model.strip.release import drift, ensemble_of, frozen, trained_ensemble
from model.strip.settings import SEQUENCE
from tests.strip_bundle import SETTINGS, made_records


@pytest.fixture(scope="module")
def sources():
    n = 4
    strips = Strips(
        shapes=torch.zeros(n, SEQUENCE, 1, 2, WINDOW, dtype=torch.float16),
        traits=torch.zeros(n, SEQUENCE, 1, N_TRAITS),
        rhythm=torch.zeros(n, SEQUENCE, N_RHYTHM),
        n_beats=torch.full((n,), 8),
        labels=torch.zeros(n, 2, dtype=torch.int64),
        group=torch.zeros(n, dtype=torch.int64),
    )
    return Sources(made_records(range(2)), strips, torch.randn(2, 500))


def test_the_graph_says_what_torch_says(strip_bundle):
    assert drift(open_graph(strip_bundle), ensemble_of(strip_bundle).measure) < 1e-4


def test_a_graph_is_written_anew_from_the_weights(strip_bundle, tmp_path):
    save_bundle(tmp_path, strip_bundle)
    assert release.export(tmp_path) < 1e-4
    again = load_strip(tmp_path)
    assert again.identity == strip_bundle.identity
    assert again.card == strip_bundle.card  # equal weights give equal bytes


def test_a_graph_that_drifts_is_not_released(strip_bundle, monkeypatch):
    card = strip_bundle.card
    ensemble = ensemble_of(strip_bundle)
    graph = release.graph_of(ensemble)
    with torch.no_grad():
        ensemble.networks[0].head[-1].bias[0] += 0.1
    monkeypatch.setattr(release, "graph_of", lambda _: graph)
    af = release.AfModel.from_tensors(dict(strip_bundle.tensors))
    with pytest.raises(BundleError, match="graph-drifts"):
        frozen(ensemble, af, card.calibration, card.anomaly, card.origin)


def test_weights_that_do_not_fit_are_refused(strip_bundle):
    card = strip_bundle.card.model_copy(update={"n_networks": 2})
    with pytest.raises(BundleError, match="bundle-altered"):
        ensemble_of(replace(strip_bundle, card=card))


def test_finished_networks_are_kept_and_not_trained_again(sources, tmp_path, monkeypatch):
    settings = replace(SETTINGS, epochs=1, steps=2, edited=2, strips=2)
    monkeypatch.setattr(release, "train_restorer", partial(release.train_restorer, steps=2))
    epochs = []

    def on_epoch(*at):
        epochs.append(at[:2])

    one = trained_ensemble(sources, settings, (0, 1), tmp_path, on_epoch=on_epoch)
    assert epochs == [(0, 0), (1, 0)]
    two = trained_ensemble(sources, settings, (0, 1), tmp_path, resume=True, on_epoch=on_epoch)
    assert len(epochs) == 2
    assert all(
        np.array_equal(value, two.tensors()[name])
        for name, value in one.tensors().items()
        if name.startswith("beats.networks")
    )
