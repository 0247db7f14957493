import numpy as np
import pytest

from model.errors import DatasetError
from model.findings import LeadFault, Quality
from model.strip import challenge
from model.strip.challenge import RhythmDetector, evaluate_cinc2017, figures, readable
from tests.cinc2017_folder import write_cinc2017


def test_a_folder_of_the_challenge_is_measured(af_model, tmp_path):
    folder = write_cinc2017(tmp_path / "cinc", n_per_class=3)
    seen = []
    measured = evaluate_cinc2017(RhythmDetector(af_model), folder, lambda: seen.append(1))
    assert len(seen) == 12
    assert measured["table"] == "REFERENCE.csv"
    assert measured["strips"] == {"N": 3, "A": 3, "O": 3, "~": 3}
    assert measured["confusion"]["A"]["A"] == 3
    assert measured["confusion"]["~"]["~"] == 3
    assert measured["score_n_a_o"]["value"] > 0.6
    challenge.plot_confusion(measured, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000


def test_a_record_that_fails_stops_the_measurement(af_model, tmp_path):
    folder = write_cinc2017(tmp_path / "cinc", n_per_class=1)
    (folder / "A00002.mat").unlink()
    with pytest.raises(DatasetError, match="A00002"):
        evaluate_cinc2017(RhythmDetector(af_model), folder)


def test_the_scores_are_the_challenges():
    # Worked by hand: N 2 of 3 right and one told too many, A 1 of 2, O 1 of 1 and one too many.
    measured = figures(tuple("NNNAAO~"), tuple("NNOANO~"))
    assert measured["f1"]["N"]["value"] == pytest.approx(2 * 2 / (3 + 3))
    assert measured["f1"]["A"]["value"] == pytest.approx(2 * 1 / (2 + 1))
    assert measured["f1"]["O"]["value"] == pytest.approx(2 * 1 / (1 + 2))
    assert measured["score_n_a_o"]["value"] == pytest.approx(2 / 3)
    assert measured["score_all_four"]["value"] == pytest.approx(3 / 4)
    assert measured["accuracy"]["value"] == pytest.approx(5 / 7)
    assert measured["majority"] == pytest.approx(3 / 7)
    assert measured["confusion"]["N"] == {"N": 2, "A": 0, "O": 1, "~": 0}
    low, high = measured["accuracy"]["low"], measured["accuracy"]["high"]
    assert low < 5 / 7 < high


def test_a_class_that_never_occurs_has_no_f1():
    measured = figures(("N", "A"), ("N", "N"))
    assert set(measured["f1"]) == {"N", "A"}
    assert measured["f1"]["A"]["value"] == 0.0


def test_strips_of_one_person_are_drawn_together():
    labels, told = ("N",) * 8, ("N",) * 4 + ("A",) * 4
    alone = figures(labels, told)["accuracy"]
    together = figures(labels, told, np.repeat([0, 1], 4))["accuracy"]
    assert together["low"] == 0.0
    assert alone["low"] > 0.0


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (Quality("unscorable", ("too-few-leads",)), True),
        (Quality("good"), True),
        (Quality("unscorable", ("too-few-leads",), (LeadFault("I", "noise"),)), False),
        (Quality("unscorable", ("no-qrs", "too-few-leads")), False),
        (Quality("unscorable", ("too-short",)), False),
    ],
)
def test_one_good_lead_is_enough_to_tell_a_rhythm(quality, expected):
    assert readable(quality, ("I",)) is expected
