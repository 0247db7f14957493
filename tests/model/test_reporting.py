import json

import torch

from model import reporting
from tests.ptbxl_folder import write_ptbxl


def test_options_become_folds_threads_and_a_file_of_figures(tmp_path):
    folder = write_ptbxl(tmp_path / "ptbxl", 2)
    arguments = ["--data-path", str(folder), "--threads", "1", "--json", str(tmp_path / "out.json")]
    options = reporting.parser("Measure.").parse_args(arguments)
    training, report = reporting.start(options)
    assert set(training.fold) == set(range(1, 9))
    assert set(report.fold) == {9}
    assert torch.get_num_threads() == 1
    reporting.finish(options, {"auroc": 0.5})
    assert json.loads((tmp_path / "out.json").read_text()) == {"auroc": 0.5}


def test_without_a_file_figures_are_only_logged(tmp_path, caplog):
    options = reporting.parser("Measure.").parse_args(["--data-path", str(tmp_path)])
    with caplog.at_level("INFO"):
        reporting.finish(options, {"auroc": 0.5})
    assert caplog.messages == ['{"auroc": 0.5}']
    assert not list(tmp_path.iterdir())
