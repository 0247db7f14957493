import numpy as np
import pytest
from matplotlib.image import imread

from model import plots
from model.datasets import ptbxl
from model.detector import Opinion
from tests.ptbxl_folder import write_ptbxl


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "ptbxl"
    return ptbxl.load(write_ptbxl(folder, 6, folds=(9,)), (9,))


@pytest.fixture(scope="module")
def opinion():
    generator = np.random.default_rng(0)
    shapes = {"types": (6, 6), "statements": (6, 8), "anomaly": (6,), "views": (6, 3)}
    return Opinion(**{name: generator.random(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("plot", [plots.roc_curves, plots.reliability])
def test_a_square_picture_is_written(plot, data, opinion, tmp_path):
    plot(data, opinion, tmp_path / "plot.png")
    picture = imread(tmp_path / "plot.png")
    assert picture.shape[:2] == (600, 600)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) > 6


def test_training_curves_show_losses_and_figures(tmp_path):
    history = [{"epoch": e, "loss_types": 1 / (e + 1), "macro_auroc_types": 0.5} for e in range(3)]
    plots.training_curves(history, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").shape[:2] == (480, 1200)
