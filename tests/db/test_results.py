from datetime import date

import pytest
from sqlalchemy import func, select

from db.clinical import Clinical, Incoming, Measurement, NewResult, OrderRef, Quantity
from db.records import MessageState, NewExam, PatientRef
from db.tables import ResultRow
from tests.db.conftest import NOW

PATIENT, OTHER = PatientRef("4711", "HOSP"), PatientRef("4712", "HOSP")
NUMBERS = (
    Measurement(Quantity.QT, 400.0, "ms"),
    Measurement(Quantity.P_AXIS, -1.5, None),
)


def kept(store):
    with store._engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(ResultRow))


def test_a_result_comes_back_with_its_exam(store, message, exam):
    own = NewResult(PATIENT, NUMBERS, ("Sinus rhythm", "\u00e4"), NOW, "P1", "F1", exam=1)
    nobodys = NewResult(None, (), ("nobody's",), date(2026, 3, 1), exam=1)
    told = Clinical(results=(own, nobodys))
    exams = [exam(), exam("4712")]
    receipt = store.accept(
        Incoming(message(), MessageState.ACCEPTED, None, b"AA", exams, clinical=told)
    )
    first, second = receipt.exam_ids
    assert store.results_of_exam(first) == ()
    found, other = store.results_of_exam(second)
    assert (found.patient, found.measurements, found.statements) == (
        PATIENT,
        NUMBERS,
        own.statements,
    )
    assert (found.acquired, found.placer_order, found.filler_order) == (NOW, "P1", "F1")
    assert other.statements == nobodys.statements
    assert (other.patient, other.acquired) == (None, date(2026, 3, 1))


def test_a_message_of_results_alone(store, message):
    told = Clinical(results=(NewResult(PATIENT, NUMBERS, ()),))
    receipt = store.accept(
        Incoming(message(), MessageState.NOT_ECG, "measurements", b"AA", clinical=told)
    )
    assert receipt.exam_ids == ()
    assert kept(store) == 1
    again = store.accept(
        Incoming(message(), MessageState.NOT_ECG, "measurements", b"AA", clinical=told)
    )
    assert again.duplicate
    assert kept(store) == 1


@pytest.fixture
def placer_found(store, message, ecg):
    """A function that stores orders, then an ECG, and tells which order the ECG answers."""

    def find(orders, placer=None):
        told = Clinical(orders=tuple(orders))
        store.accept(
            Incoming(message("order"), MessageState.NOT_ECG, "order", b"AA", clinical=told)
        )
        new = NewExam(PATIENT, ecg, NOW, placer, "F9")
        receipt = store.accept(Incoming(message(), MessageState.ACCEPTED, None, b"AA", [new]))
        return store.load_exam(receipt.exam_ids[0]).placer_order

    return find


@pytest.mark.parametrize(
    ("orders", "placer"),
    [
        ([OrderRef(PATIENT, "P9", "F9")], "P9"),
        ([OrderRef(PATIENT, "P9", "F9"), OrderRef(PATIENT, "P9", "F9")], "P9"),
        ([OrderRef(PATIENT, "P9", "F9"), OrderRef(PATIENT, "P8", "F9")], None),
        ([OrderRef(OTHER, "P9", "F9")], None),
        ([OrderRef(PatientRef("4711"), "P9", "F9")], None),
        ([OrderRef(PATIENT, "P9", "F8")], None),
        ([OrderRef(PATIENT, "P9")], None),
    ],
)
def test_an_exam_finds_the_order_it_answers(placer_found, orders, placer):
    assert placer_found(orders) == placer


def test_an_order_that_the_exam_names_stands(placer_found):
    assert placer_found([OrderRef(PATIENT, "P9", "F9")], "P1") == "P1"
