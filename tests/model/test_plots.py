from matplotlib.image import imread

from model import plots


def test_training_curves_show_losses_and_figures(tmp_path):
    history = [{"epoch": e, "loss_types": 1 / (e + 1), "macro_auroc_types": 0.5} for e in range(3)]
    plots.training_curves(history, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").shape[:2] == (480, 1200)
