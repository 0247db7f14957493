import json

import numpy as np
import pytest

from integration.cli.challenge import measure_challenge
from model.calibration import Logistic
from model.errors import DatasetError
from model.strip.af import HEADS, AfModel
from model.strip.af_training import AfNetwork
from model.strip.challenge import RPeakReader
from tests.cinc2017_folder import write_cinc2017


@pytest.fixture
def detector():
    """Untaught networks never reach these thresholds: what is told are the rules alone."""
    networks = (AfNetwork(8, 0.0).weights(),)
    return RPeakReader(AfModel(networks, (Logistic((1.0,), 0.0),) * len(HEADS), 1.1, 1.1, 1.1))


def test_figures_are_printed_and_written(detector, tmp_path, capsys):
    folder = write_cinc2017(tmp_path / "cinc")
    measure_challenge(detector, folder, tmp_path / "figures.json", tmp_path / "png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "REFERENCE.csv: 2 N, 2 A, 2 O, 2 ~"
    figures = json.loads((tmp_path / "figures.json").read_text())
    score = figures["score_n_a_o"]["value"]
    (told,) = [line for line in lines if "challenge's score" in line]
    assert f" {score:.3f} [" in told
    assert figures["f1"]["A"]["value"] == 0.0
    assert figures["confusion"]["O"]["O"] == 2  # the simulated ones are tachycardias
    table = np.array([line.split()[1:] for line in lines[-4:]], int)
    assert table.tolist() == [list(row.values()) for row in figures["confusion"].values()]
    assert (tmp_path / "png" / "confusion.png").exists()


def test_nothing_is_written_unless_asked_for(detector, tmp_path):
    folder = write_cinc2017(tmp_path / "cinc", n_per_class=1)
    before = sorted(tmp_path.rglob("*"))
    measure_challenge(detector, folder, None, None)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_labels_is_refused(detector, tmp_path):
    with pytest.raises(DatasetError, match="dataset-missing"):
        measure_challenge(detector, tmp_path, None, None)
