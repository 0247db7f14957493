import json
import shutil

from click.testing import CliRunner

from integration.cli.export import export
from model.resting.card import SHIPPED, load_resting
from model.strip.card import SHIPPED as SHIPPED_STRIP
from model.strip.card import load_strip
from tests.ptbxl_folder import write_ptbxl


def test_graphs_are_written_and_their_drift_is_printed(tmp_path):
    data = write_ptbxl(tmp_path / "ptbxl", 6, folds=(9,))
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    options = ["--model-path", str(bundle), "--data-path", str(data)]
    result = CliRunner().invoke(export, options, catch_exceptions=False)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert printed["ecgs"] == len(result.stderr.splitlines())
    assert max(printed["largest_drift"].values()) < 1e-4
    assert set(load_resting(bundle).graphs) == {"network.onnx", "influence.onnx"}


def test_a_strip_bundle_gets_its_graph_from_its_weights_alone(tmp_path):
    bundle = shutil.copytree(SHIPPED_STRIP, tmp_path / "bundle")
    (bundle / "beats.onnx").unlink()
    card = json.loads((bundle / "card.json").read_text())
    (bundle / "card.json").write_text(json.dumps(card | {"graphs_sha256": {}}))
    result = CliRunner().invoke(export, ["--model-path", str(bundle)], catch_exceptions=False)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["largest_drift"] < 1e-4
    assert set(load_strip(bundle).graphs) == {"beats.onnx"}


def test_a_resting_bundle_needs_ecgs_to_compare_on(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    result = CliRunner().invoke(export, ["--model-path", str(bundle)])
    assert result.exit_code == 2
    assert "--data-path" in result.stderr
