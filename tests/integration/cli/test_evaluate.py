import json

import numpy as np
import pytest
from click.testing import CliRunner

from integration.cli import main
from integration.cli.evaluate import _finite, evaluate
from model.datasets import ptbxl
from model.resting.card import SHIPPED, load_resting
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl
from tests.wfdb_folder import write_cinc, write_ludb


@pytest.fixture(scope="module")
def data_path(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", n_per_fold=6)


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    return bundle_of_these_statements(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def evaluated(data_path, model_path, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    result = CliRunner().invoke(
        evaluate,
        [
            *("--data-path", str(data_path), "--model-path", str(model_path)),
            *("--folds", "8,9", "--json", str(out / "figures.json"), "--plots", str(out / "png")),
        ],
    )
    return result, out


def test_the_main_figures_are_printed_with_intervals(evaluated):
    result, _ = evaluated
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("PTB-XL: 12 ECGs, 7 patients")
    for told in ("macro, abnormality types", "sensitivity", "restoration", "6-spread", "p99"):
        assert told in result.stdout


def test_the_file_holds_everything_with_the_command_that_made_it(evaluated, model_path):
    figures = json.loads((evaluated[1] / "figures.json").read_text())
    assert figures["command"] == "hisbundle evaluate --data-path DIR --folds 8,9"
    assert figures["model"]["sha256"] == load_resting(model_path).identity.sha256
    assert figures["data"]["folds"] == [8, 9]
    assert "baseline: median beat, PCA" in figures["anomaly"]
    assert set(figures) == {
        *("command", "model", "operating_point", "data", "trained_on", "quality", "ranking"),
        *("not_calibrated_on", "anomaly", "groups", "lead_subsets", "latency"),
    }


def test_plots_are_written(evaluated):
    names = {path.stem for path in (evaluated[1] / "png").iterdir()}
    assert names == {"anomaly", "confusion", "leads", "reliability", "roc", "two-by-two"}


@pytest.mark.parametrize(("write", "source"), [(write_cinc, "WFDB"), (write_ludb, "LUDB")])
def test_other_layouts_are_found_out(write, source, model_path, tmp_path):
    folder = write(tmp_path / "set", 8)
    out = tmp_path / "o.json"
    arguments = ["--data-path", str(folder), "--model-path", str(model_path), "--json", str(out)]
    arguments += ["--no-lead-subsets", "--limit", "6", "--operating-point", "specific"]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(out.read_text())
    assert result.stdout.startswith(source)
    assert figures["data"]["ecgs"] == 6
    assert figures["operating_point"] == "specific"
    assert figures["command"].endswith("--operating-point specific --limit 6")


def test_a_model_of_other_statements_is_refused(data_path, monkeypatch, capsys):
    assert complaint_of(monkeypatch, capsys, "--data-path", str(data_path)).startswith(
        "hisbundle: statements-differ: "
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data-path", "nowhere"], "dataset-missing"),
        (["--data-path", "DATA", "--folds", "10"], "fold-missing"),
        (["--data-path", "DATA", "--model-path", "nowhere"], "bundle-missing"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, reason, data_path, monkeypatch, capsys):
    arguments = [str(data_path) if part == "DATA" else part for part in arguments]
    complaint = complaint_of(monkeypatch, capsys, *arguments)
    assert complaint.startswith(f"hisbundle: {reason}: ")
    assert complaint.count("\n") == 1


def complaint_of(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["hisbundle", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--operating-point", "best"], "this bundle has screening, balanced, specific"),
        (["--json", "no/such/folder/x.json"], "not a file in an existing folder"),
        (["--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage_is_told_before_any_work(arguments, told, data_path):
    result = CliRunner().invoke(evaluate, ["--data-path", str(data_path), *arguments])
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize("folds", ["nine", "0", "11", "9,,8", ""])
def test_folds_are_checked_before_anything_is_read(folds):
    result = CliRunner().invoke(evaluate, ["--data-path", "nowhere", "--folds", folds])
    assert result.exit_code == 2
    assert "--folds" in result.stderr


def test_a_figure_that_does_not_exist_is_null():
    assert _finite({"a": [float("nan"), 1.5], "b": "x"}) == {"a": [None, 1.5], "b": "x"}


def test_the_committed_evaluation_is_of_the_shipped_bundle():
    figures = json.loads((SHIPPED / "evaluation.json").read_text())
    card = load_resting().card
    assert figures["model"]["sha256"] == card.weights_sha256
    assert figures["data"]["folds"] == [9]
    assert figures["data"]["ecgs"] == 2183
    ranking = figures["ranking"]["macro_auroc_types"]
    assert ranking["value"] == pytest.approx(card.validation["macro_auroc_types"], abs=3e-3)
    assert np.isin(ptbxl.TYPES, list(figures["ranking"]["auroc"])).all()
