import json
import shutil

from click.testing import CliRunner

from integration.cli.export import export
from model.resting.card import SHIPPED, load_resting
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
