from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.store import Store
from integration.comparison import Compared, compared
from model.ecg import Ecg
from model.errors import EcgError
from model.findings import Findings, ModelIdentity, Quality, TypeFinding
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OLD, NEW = ModelIdentity("resting", "1", "ab" * 32), ModelIdentity("resting", "2", "cd" * 32)
GOOD = Quality("good")


def findings(model, score, **probabilities):
    types = tuple(TypeFinding(code, p, 0.5) for code, p in probabilities.items())
    return Findings(GOOD, model, types, 0.1, score, 0.9)


def pair(before, after):
    return Compared(UUID(int=1), before, after)


def test_flags_are_gained_and_lost():
    one = pair(findings(OLD, 0.95, MI=0.9, CD=0.4), findings(NEW, 0.5, MI=0.3, CD=0.6))
    assert (one.gained, one.lost, one.changed) == (("CD",), ("MI", "anomaly"), True)
    assert one.largest_shift == pytest.approx(0.6)


def test_the_same_flags_are_no_change_however_scores_shift():
    one = pair(findings(OLD, 0.95, MI=0.9), findings(NEW, 0.91, MI=0.8))
    assert (one.gained, one.lost, one.changed) == ((), (), False)
    assert one.largest_shift == pytest.approx(0.1)


def test_a_gate_that_says_otherwise_is_a_change():
    refused = Findings(Quality("unscorable", ("no-qrs",)), NEW)
    one = pair(findings(OLD, 0.1, MI=0.2), refused)
    assert (one.quality_changed, one.changed, one.largest_shift) == (True, True, 0.0)


class Fixed:
    def __init__(self, says):
        self.says = says

    def score(self, _ecg):
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def stored(tmp_path):
    """A store and its one assessed ECG's id."""
    url = new_database(tmp_path / "test.db")
    store = Store.open(url)
    message = NewMessage.whole("mllp", "CART", "1", b"MSH|", NOW)
    exam = NewExam(PatientRef("4711"), Ecg(np.zeros((1, 5000), np.float32), ("II",), 500.0))
    (id_,) = store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])).exam_ids
    yield store, id_
    store.close()


def test_nothing_that_is_stored_changes(stored):
    store, id_ = stored
    assert list(compared(store, Fixed(findings(NEW, 0.1)), [id_])) == [None]  # not assessed yet
    before = findings(OLD, 0.95, MI=0.9)
    store.save_assessment(id_, NewAssessment(before, NOW, {"resourceType": "Bundle"}))
    after = replace(before, model=NEW, types=())
    (one,) = compared(store, Fixed(after), [id_])
    assert (one.before, one.after, one.lost) == (before, after, ("MI",))
    assert store.load_assessed(id_).findings == before


def test_what_the_other_model_cannot_read_is_passed_over(stored):
    store, id_ = stored
    store.save_assessment(id_, NewAssessment(findings(OLD, 0.1), NOW, {}))
    broken = Fixed(EcgError("rate-out-of-range", "x"))
    assert list(compared(store, broken, [id_, UUID(int=0)])) == [None, None]
