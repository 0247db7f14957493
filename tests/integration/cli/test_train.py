import json

import pytest
import torch
from click.testing import CliRunner

from integration.cli import main
from integration.cli.train import train
from model.detector import Detector
from model.export import LIMITS
from model.resting.card import load_resting
from model.simulate import simulate
from tests.ptbxl_folder import write_ptbxl


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    torch.set_num_threads(1)
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", n_per_fold=12)


@pytest.fixture(scope="module")
def trained(data_path, tmp_path_factory):
    """One epoch by the command: its output and its run folder.

    After one step the gradient still hangs on the signs of numbers near zero: it may drift.
    """
    run_dir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LIMITS, "influence_share", 1.0)
        return CliRunner().invoke(train, arguments(data_path, run_dir)), run_dir


def arguments(data_path, run_dir, *more):
    return [
        *("--data-path", str(data_path), "--run-dir", str(run_dir)),
        *("--cache", str(run_dir / "cache"), "--epochs", "1", "--seed", "7", *more),
    ]


def test_one_command_leaves_a_bundle_that_scores(trained):
    result, run_dir = trained
    assert result.exit_code == 0, result.output
    detector = Detector.load(run_dir / "bundle")
    assert detector.score(simulate("normal", seed=0)).explanation is not None
    assert detector.identity.sha256 in result.stdout
    origin = load_resting(run_dir / "bundle").card.origin
    assert origin.command == "hisbundle train --data-path DIR --epochs 1 --seed 7"
    assert origin.settings["seed"] == 7


def test_the_run_folder_holds_settings_figures_and_curves(trained):
    _, run_dir = trained
    assert json.loads((run_dir / "settings.json").read_text())["epochs"] == 1
    assert (run_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((run_dir / "metrics.jsonl").read_text())
    assert figures["epoch"] == 0


def test_progress_is_told_line_by_line_without_a_terminal(trained):
    result, _ = trained
    assert "epoch 1 of 1: 1 of 1" in result.stderr
    assert json.loads(result.stdout.splitlines()[0])["epoch"] == 0


def test_the_bundle_has_graphs_that_passed_the_gate(trained):
    result, run_dir = trained
    drifts = json.loads(result.stdout.splitlines()[-1])
    assert drifts["ecgs"] == 12
    assert drifts["largest_drift"]["type_probability"] <= 1e-3
    assert set(load_resting(run_dir / "bundle").graphs) == {"network.onnx", "influence.onnx"}


@pytest.fixture(params=["hisbundle export", "graph-drifts"])
def said_without_graphs(request, monkeypatch):
    """Take away the extra that makes graphs, or let the graphs drift."""
    if request.param == "graph-drifts":
        monkeypatch.setitem(LIMITS, "type_probability", -1.0)
    else:
        monkeypatch.setattr("integration.cli.train.find_spec", lambda _: None)
    return request.param


def test_a_finished_run_can_be_resumed_into_another_bundle_even_without_graphs(
    trained, data_path, tmp_path, said_without_graphs
):
    _, run_dir = trained
    more = ("--resume", "--bundle", str(tmp_path / "other"))
    result = CliRunner().invoke(train, arguments(data_path, run_dir, *more))
    assert result.exit_code == 0, result.output
    other, first = load_resting(tmp_path / "other"), load_resting(run_dir / "bundle")
    assert other.identity == first.identity
    assert not other.graphs
    assert "no ONNX graphs: " in result.stderr
    assert said_without_graphs in result.stderr


def test_a_missing_folder_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys):
    complaint = complaint_of(monkeypatch, capsys, "nowhere", tmp_path)
    assert complaint.startswith("hisbundle: dataset-missing: ")
    assert complaint.count("\n") == 1


def test_a_run_that_never_was_cannot_be_resumed(data_path, tmp_path, monkeypatch, capsys):
    complaint = complaint_of(monkeypatch, capsys, data_path, tmp_path, "--resume")
    assert complaint.startswith("hisbundle: run-missing: ")


def complaint_of(monkeypatch, capsys, data_path, run_dir, *more):
    monkeypatch.setattr("sys.argv", ["hisbundle", "train", *arguments(data_path, run_dir, *more)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--epochs", "0"], ["--epochs", "many"], ["--seed", "-1"]])
def test_numbers_are_checked_before_anything_is_read(wrong):
    result = CliRunner().invoke(train, ["--data-path", "nowhere", *wrong])
    assert result.exit_code == 2
    assert wrong[0] in result.stderr
