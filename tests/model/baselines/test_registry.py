import json

import numpy as np
import pytest

from model.baselines import __main__ as command
from model.baselines import registry
from model.baselines.learning import Plan
from model.datasets import ptbxl
from tests.ptbxl_folder import write_ptbxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 12)


@pytest.fixture(scope="module")
def folds(folder):
    return ptbxl.load(folder, (1, 2, 3)), ptbxl.load(folder, (9,))


@pytest.mark.parametrize("name", registry.BASELINES)
def test_every_baseline_scores_every_ecg(name, folds, tmp_path):
    outcome = registry.BASELINES[name](*folds, Plan(epochs=1, run_dir=tmp_path, batch_size=4))
    assert outcome.training.keys() == outcome.report.keys() != set()
    for scores in outcome.training.values():
        assert scores.shape == (36,)
    for scores in outcome.report.values():
        assert scores.shape == (12,)
        assert np.isfinite(scores).all()
    assert (outcome.logits is not None) == (name == "xresnet1d101")


def test_the_classifier_names_types_and_statements(folds, tmp_path):
    outcome = registry.xresnet1d101(*folds, Plan(epochs=1, run_dir=tmp_path, batch_size=4))
    assert outcome.logits.shape == (12, 6 + 8)
    assert outcome.report["against NORM"] == pytest.approx(-outcome.logits[:, 0])


def test_relative_error_is_the_share_of_the_ecgs_size():
    scores = registry._scores(np.array([0.1, 0.1, 0.001]), np.array([0.2, 0.1, 0.0]))
    assert scores["absolute error"] == pytest.approx([0.1, 0.1, 0.001])
    assert scores["relative error"] == pytest.approx([0.5, 1.0, 0.2])


@pytest.mark.parametrize("name", ["template", "xresnet1d101"])
def test_the_command_writes_figures_and_scores(name, folder, tmp_path):
    arguments = ["--model", name, "--data-path", str(folder), "--epochs", "1"]
    arguments += ["--batch-size", "16", "--run-dir", str(tmp_path), "--json"]
    command.main([*arguments, str(tmp_path / "out.json")])
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["command"].startswith(
        f"python -m model.baselines --model {name} --data-path DIR"
    )
    assert content["data_sha256"] == ptbxl.load(folder, tuple(range(1, 9))).sha256()
    for figures in content["anomaly"].values():
        estimate = figures["auroc"]
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    assert ("ranking" in content) == ("training_seconds" in content) == (name == "xresnet1d101")
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as stored:
        assert {key.split("/")[0] for key in stored} == {"training", "report"}
        assert {len(values) for values in stored.values()} == {96, 12}
