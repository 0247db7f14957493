import json
import math
import shutil

import numpy as np
import pytest
import torch

from model.datasets import ptbxl
from model.errors import DatasetError
from model.resting import training
from model.resting.network import RestingNetwork
from model.resting.settings import Dimensions, Settings
from tests.ptbxl_folder import write_ptbxl

SMALL = Dimensions(n_statements=8, channels=(16, 16, 16, 32), lstm_width=32)
SETTINGS = Settings(epochs=3, batch_size=8, crop=64, crop_share=1.0, max_lr=1e-3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 12, folds=(1, 2, 9))
    return ptbxl.load(folder, (1, 2)), ptbxl.load(folder, (9,))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """An uninterrupted run: its folder, its network, and the progress it told."""
    told = []
    folder = tmp_path_factory.mktemp("run")
    network = training.train(*data, SETTINGS, folder, on_step=told.append)
    return folder, network, told


def test_a_run_leaves_settings_and_figures(whole, data):
    folder, _, told = whole
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["seed"] == 0
    assert settings["data_sha256"] == data[0].sha256()
    history = training.history(folder)
    assert [line["epoch"] for line in history] == [0, 1, 2]
    assert all(0 <= line["macro_auroc_types"] <= 1 for line in history)
    assert [(p.epoch, p.step, p.steps) for p in told] == [
        (e, s, 3) for e in range(3) for s in (1, 2, 3)
    ]


def test_the_best_epoch_is_returned(whole):
    folder, network, _ = whole
    best = training.load_averaged(folder / "best.safetensors", network.dims)
    for name, value in best.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])
    assert not network.training


def test_a_resumed_run_goes_the_same_way(whole, data, tmp_path):
    def stop(figures):
        if figures["epoch"] == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(*data, SETTINGS, tmp_path, on_epoch=stop)
    training.train(*data, SETTINGS, tmp_path, resume=True)
    expected = training.history(whole[0])
    for line, reached in zip(expected, training.history(tmp_path), strict=True):
        assert reached["loss_types"] == pytest.approx(line["loss_types"], rel=1e-3)
        assert reached["macro_auroc_types"] == pytest.approx(line["macro_auroc_types"], abs=0.02)


def test_a_line_without_its_checkpoint_is_done_again(whole, data, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    training.train(*data, SETTINGS, folder, resume=True)
    assert (folder / "metrics.jsonl").read_text() == lines


def test_resuming_a_finished_run_changes_nothing(whole, data):
    folder, network, _ = whole
    before = (folder / "metrics.jsonl").read_bytes()
    again = training.train(*data, SETTINGS, folder, resume=True)
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert torch.equal(again.type_weight, network.type_weight)


def test_there_must_be_something_to_resume(data, tmp_path):
    with pytest.raises(DatasetError, match="run-missing"):
        training.train(*data, SETTINGS, tmp_path / "new", resume=True)


def test_a_run_without_progress_stops_early(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "validate", lambda *_: {"macro_auroc_types": 0.5})
    settings = Settings(epochs=9, batch_size=24, crop=64, crop_share=1.0, patience=2)
    training.train(*data, settings, tmp_path)
    assert len(training.history(tmp_path)) == 3


def test_the_network_learns_what_it_is_shown(data):
    torch.manual_seed(0)
    network = RestingNetwork(SMALL)
    ready = training.arrays(data[0], torch.device("cpu"))
    (batch,) = training.batches(ready, Settings(batch_size=24, crop=128, crop_share=1.0), 0)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    losses = []
    for _ in range(25):
        parts = training.loss_parts(network, batch)
        optimizer.zero_grad()
        torch.autograd.backward(parts.types + parts.statements + parts.restoration)
        optimizer.step()
        losses.append([part.item() for part in parts])
    assert (np.array(losses[-1]) < np.array(losses[0]) * [0.8, 0.8, 1.0]).all()


def test_a_batch_without_normals_teaches_no_restoration(data):
    network = RestingNetwork(SMALL)
    abnormal = data[0].rows(np.flatnonzero(~data[0].normal))
    ready = training.arrays(abnormal, torch.device("cpu"))
    batch = next(training.batches(ready, SETTINGS, 0))
    assert len(batch.restore) == 0
    assert training.loss_parts(network, batch).restoration.item() == 0


@pytest.mark.parametrize(("done", "share"), [(0.0, 0.04), (0.1, 0.52), (0.2, 1.0), (0.6, 0.5)])
def test_the_rate_rises_and_falls_by_cosines(done, share):
    settings = Settings(max_lr=2e-3, warm_up=0.2)
    assert training.one_cycle(done, settings) == pytest.approx(share * 2e-3, rel=2e-3)


def test_the_rate_ends_near_zero():
    assert 0 < training.one_cycle(1.0, Settings()) < 1e-5
    assert math.isfinite(training.one_cycle(0.999, Settings()))
