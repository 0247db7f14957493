import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from model.anomaly import AFTER, BEFORE
from model.baselines import learning
from model.baselines.learning import Plan
from model.simulate import simulate


class Gain(nn.Module):
    """One number; batch normalisation keeps a state besides."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(12, affine=False)

    def forward(self, x):
        self.norm(x)
        return x * self.gain


@pytest.fixture(scope="module")
def voltage():
    ecgs = [simulate("normal", seed=s, sampling_rate_hz=100.0).voltage_mv for s in range(8)]
    return np.stack(ecgs)


@pytest.fixture
def plan(tmp_path):
    return Plan(epochs=8, run_dir=tmp_path / "run", batch_size=2, max_lr=0.1)


def fit(network, voltage, plan):
    unused = np.zeros((len(voltage), 0), np.float32)
    cut = learning.random_crop(128)
    learning.fit(network, voltage, unused, plan, cut=cut, loss=learning.restoration_loss)


def test_an_autoencoder_learns_to_restore(voltage, plan):
    told = []
    network = Gain()
    fit(network, voltage, replace(plan, on_epoch=told.append))
    assert told[-1]["loss"] < told[0]["loss"] / 3
    assert network.gain.item() == pytest.approx(1, abs=0.2)
    assert not network.training
    lines = (plan.run_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == told
    assert learning.seconds_taken(plan.run_dir) == pytest.approx(
        sum(line["seconds"] for line in told), abs=0.1
    )


def test_a_stopped_run_goes_on_the_same_way(voltage, plan, tmp_path):
    whole, resumed = Gain(), Gain()
    fit(whole, voltage, replace(plan, run_dir=tmp_path / "whole"))

    def stop(figures):
        if figures["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Gain(), voltage, replace(plan, on_epoch=stop))
    fit(resumed, voltage, plan)
    for name, value in whole.state_dict().items():
        assert resumed.state_dict()[name].numpy() == pytest.approx(value.numpy(), rel=1e-3)


def test_a_finished_run_is_only_loaded(voltage, plan):
    fit(Gain(), voltage, plan)
    before = (plan.run_dir / "metrics.jsonl").read_bytes()
    again = Gain()
    fit(again, voltage, plan)
    assert again.gain.item() != 0
    assert (plan.run_dir / "metrics.jsonl").read_bytes() == before


def test_a_line_without_its_checkpoint_is_trained_again(voltage, plan):
    fit(Gain(), voltage, replace(plan, epochs=2))
    with (plan.run_dir / "metrics.jsonl").open("a") as lines:
        lines.write(json.dumps({"epoch": 2, "loss": 0.0, "seconds": 1.0}) + "\n")
    told = []
    fit(Gain(), voltage, replace(plan, epochs=3, on_epoch=told.append))
    assert [line["epoch"] for line in told] == [2]
    assert len((plan.run_dir / "metrics.jsonl").read_text().splitlines()) == 3


def test_crops_lie_inside(voltage):
    torch.manual_seed(0)
    crops = learning.random_crop(250)(voltage)
    assert crops.shape == (8, 12, 250)
    row, crop = voltage[0, 0], crops[0, 0]
    assert any(np.array_equal(row[s : s + 250], crop) for s in range(751))


def test_drawn_beats_are_aligned(voltage):
    torch.manual_seed(0)
    beats = learning.random_beat(voltage)
    assert beats.shape == (8, 12, BEFORE + AFTER)
    steepest = np.abs(np.diff(beats, axis=2)).sum(axis=1).argmax(axis=1)
    assert np.abs(steepest - BEFORE).max() <= 8


def test_windows_are_answered_in_order(voltage):
    network = Gain()
    network.gain.data += 1
    answers = learning.by_windows(network, voltage, 400, 300, batch=3)
    assert len(answers) == 3
    assert answers[1] == pytest.approx(voltage[:, :, 300:700])


def test_the_first_weights_depend_on_the_seed_alone(plan):
    make = lambda: nn.Linear(3, 2)  # noqa: E731
    first, again = learning.seeded(make, plan), learning.seeded(make, plan)
    other = learning.seeded(make, replace(plan, seed=1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


def test_label_loss_of_no_opinion():
    loss = learning.label_loss(nn.Identity(), torch.zeros(4, 3), torch.ones(4, 3))
    assert loss.item() == pytest.approx(np.log(2))
