import pytest
from matplotlib.image import imread

from model import evaluation_plots as plots
from model.datasets import ptbxl, ptbxl_cases
from model.detector import Detector
from model.evaluate import plan_of, report
from model.figures import not_calibrated_on
from model.scoring import score_cases
from tests.ptbxl_folder import bundle_of_these_statements, write_ptbxl

ALL = {"roc", "anomaly", "reliability", "confusion", "two-by-two", "leads", "groups"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    detector = Detector.load(bundle_of_these_statements(tmp_path_factory.mktemp("bundle")))
    data = ptbxl.load(write_ptbxl(tmp_path_factory.mktemp("d") / "p", 36, folds=(8,)), (8,))
    scored = score_cases(detector, plan_of(ptbxl_cases.from_arrays(data)))
    fresh = not_calibrated_on(detector, scored)
    return report(detector, scored, None, "balanced"), scored, fresh


def test_every_picture_is_written_and_not_empty(measured, tmp_path):
    paths = plots.write_plots(*measured, tmp_path / "new" / "folder")
    assert {path.stem for path in paths} == ALL
    for path in paths:
        picture = imread(path)
        assert min(picture.shape[:2]) > 150
        assert picture[..., :3].std() > 0.05


def test_what_was_not_measured_is_not_drawn(measured, tmp_path):
    figures, scored, fresh = measured
    bare = {**figures, "not_calibrated_on": None, "lead_subsets": None, "groups": {}}
    paths = plots.write_plots(bare, scored, fresh, tmp_path)
    assert {path.stem for path in paths} == {"roc", "anomaly"}


def test_legends_tell_the_figures(measured):
    figures, scored, _ = measured
    texts = [t.get_text() for t in plots.roc(scored, figures).axes[0].get_legend().get_texts()]
    assert [text.split()[0] for text in texts] == list(ptbxl.TYPES)
    assert f"{figures['ranking']['auroc']['MI']['value']:.3f}" in texts[1]


def test_rows_of_the_matrix_are_labels_with_their_number(measured):
    axes = plots.co_flags(measured[0]["not_calibrated_on"]["confusion"]).axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[1] == "MI (n=6)"


def test_withheld_findings_are_hollow(measured):
    axes = plots.leads(measured[0]["lead_subsets"]).axes[0]
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert "white" in faces
    assert set(plots.COLOURS.values()) < set(faces)
