import json
from dataclasses import replace
from pathlib import Path

import pytest

import model.detector
from db.records import NewAssessment
from db.store import Store
from model.assessor import Assessor
from tests.integration.cli.test_ecg import NOW, exams
from tests.integration.cli.test_replay import run

__all__ = ["exams"]
SHIPPED = next((Path(model.detector.__file__).parent / "bundles").glob("resting*"))


@pytest.fixture
def assessed(exams, tmp_path):
    """Ids of three ECGs: as another model, as the shipped one, and as one that missed all."""
    store = Store.open(f"sqlite:///{tmp_path / 'hisbundle.db'}")
    assessor = Assessor.load()
    second, third = (assessor.score(store.load_exam(id_).ecg) for id_ in exams[1:])
    store.save_assessment(exams[1], NewAssessment(second, NOW, {}))
    older = replace(third, model=replace(third.model, version="0.9"), types=(), strip=None)
    store.save_assessment(exams[2], NewAssessment(older, NOW, {}))
    yield exams
    store.close()


def test_two_models_are_shown_side_by_side(assessed):
    done = run("replay", "compare", "", "--model-path", SHIPPED, "--json")
    told = json.loads(done.stdout)
    assert (told["compared"], told["passed_over"]) == (3, 0)
    before, after = zip(*(pair.split(" -> ") for pair in told["models"]), strict=True)
    assert before[:2] == ("resting@0.9", "resting@1")
    assert len(set(after)) == 1
    first = next(one for one in told["changed"] if one["id"] == str(assessed[0]))
    assert first["lost"] == ["MI", "anomaly"]
    assert first["types"]["MI"][0] == 0.9
    assert str(assessed[1]) not in {one["id"] for one in told["changed"]}
    shown = run("replay", "compare", "", "--model-path", SHIPPED).output
    assert "3 compared" in shown
    assert "MI 1" in shown
    assert "ZZCANARY" not in shown


def test_a_filter_and_a_limit_select(assessed):
    one = run("replay", "compare", "model:resting@1", "--model-path", SHIPPED, "--json")
    assert json.loads(one.stdout)["compared"] == 1
    two = run("replay", "compare", "", "--limit", 2, "--model-path", SHIPPED, "--json")
    assert json.loads(two.stdout)["compared"] == 2


def test_another_model_has_to_be_named(assessed):
    assert run("replay", "compare", "").exit_code == 2
