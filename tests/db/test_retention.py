from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from db.audit import AuditEntry, AuditKind
from db.clinical import Incoming
from db.errors import NotFound
from db.records import MessageState
from db.retention import Hold, Periods, Pruned
from db.tables import DeliveryRow, ExamRow, ReportRow, WaveformRow
from tests.db.conftest import NOW

DAY = timedelta(days=1)
LATER = NOW + 100 * DAY
ALL = Periods(*[30 * DAY] * 6)
ERRORS = Periods(errors=30 * DAY)


@pytest.fixture
def delivered(store, received, assessment):
    """A function that stores an ECG whose report arrived; returns its id."""

    def make(control_id="1", identifier="4711", minutes=0):
        exam_id = received(control_id, identifier=identifier, minutes=minutes)
        (id_,) = store.save_assessment(exam_id, assessment("fhir"))
        store.record_delivered(id_, "201")
        return exam_id

    return make


def rows(store, table):
    with store._reading() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_what_has_ended_goes_and_its_identity_stays(store, delivered, message, exam):
    exam_id = delivered()
    expected = Pruned(messages=1, waveforms=1, assessments=1)
    assert store.prunable(ALL, LATER) == expected
    assert rows(store, WaveformRow) == 1
    assert store.prune(ALL, LATER, "admin") == expected
    assert store.prune(ALL, LATER, "admin") == Pruned()
    assert [rows(store, t) for t in (WaveformRow, ReportRow, DeliveryRow)] == [0, 0, 0]
    with pytest.raises(NotFound):
        store.message_raw(message("1").id)
    with pytest.raises(NotFound):
        store.load_exam(exam_id)
    again = store.accept(Incoming(message("1"), MessageState.ACCEPTED, None, b"AA", [exam()]))
    assert (again.duplicate, again.answer, again.exam_ids) == (True, b"AA", ())
    assert rows(store, WaveformRow) == 0


def test_what_is_young_or_open_stays(store, received, delivered, assessment):
    received("waits")
    store.save_assessment(received("pending", minutes=1), assessment("fhir"))
    store.save_assessment(
        received("pending-unscorable", minutes=2), assessment("fhir", unscorable="too-short")
    )
    delivered("young", minutes=80 * 24 * 60)
    waiting = Periods(messages=30 * DAY, waveforms=30 * DAY, assessments=30 * DAY)
    assert store.prune(waiting, LATER, "admin") == Pruned(messages=1)
    assert rows(store, WaveformRow) == 4


def test_each_kind_has_its_own_period(store, delivered):
    delivered()
    assert store.prune(Periods(waveforms=30 * DAY), LATER, "admin") == Pruned(waveforms=1)
    assert rows(store, ReportRow) == 1
    assert store.prune(Periods(), LATER, "admin") == Pruned()


def test_errors_go_by_their_own_period_and_never_with_the_rest(store, received, message):
    refused = message("bad")
    store.accept(Incoming(refused, MessageState.REFUSED, "lead-unknown", b"AR"))
    store.discard(refused.id, "seen", "admin", NOW)
    failed = received("failed")
    store.fail_exam(failed, "scoring-crashed")
    rest = Periods(messages=DAY, waveforms=DAY, assessments=DAY, audit=DAY)
    assert store.prune(rest, LATER, "admin").errors == 0
    assert store.message_raw(refused.id) == b"MSH|..."
    assert store.prune(ERRORS, LATER, "admin") == Pruned(errors=3)
    assert store.status(LATER).messages["refused"] == 0
    assert store.status(LATER).exams["failed"] == 1  # that it failed is still known
    assert rows(store, WaveformRow) == 0


@pytest.fixture
def pair(store, message, exam):
    """Ids of two ECGs of one message, and the message's."""
    sent = message("two")
    incoming = Incoming(sent, MessageState.ACCEPTED, None, b"AA", [exam("4711"), exam("0815")])
    return *store.accept(incoming).exam_ids, sent.id


def test_an_error_takes_no_samples_with_it_but_its_own(store, pair, assessment):
    failed, fine, message_id = pair
    store.fail_exam(failed, "scoring-crashed")
    assert store.prune(ERRORS, LATER, "admin") == Pruned(errors=1)  # the other one still waits
    assert store.message_raw(message_id) == b"MSH|..."
    store.save_assessment(fine, assessment())
    assert store.prune(ERRORS, LATER, "admin") == Pruned(errors=1)
    assert store.load_exam(fine).id == fine
    with pytest.raises(NotFound):
        store.load_exam(failed)
    with pytest.raises(NotFound):
        store.message_raw(message_id)


def test_an_error_is_as_old_as_its_ecg_whatever_it_came_with(store, pair):
    """An episode belongs to the packet that its recording began with, maybe months before."""
    *both, message_id = pair
    for exam_id in both:
        store.fail_exam(exam_id, "scoring-crashed")
    old, young = both
    with store._writing() as session:
        session.execute(update(ExamRow).where(ExamRow.id == young).values(received_at=LATER))
    assert store.prune(ERRORS, LATER + DAY, "admin") == Pruned(errors=1)
    assert store.load_exam(young).id == young
    assert store.message_raw(message_id) == b"MSH|..."
    with pytest.raises(NotFound):
        store.load_exam(old)
    assert store.prunable(ERRORS, LATER + 31 * DAY) == Pruned(errors=2)
    assert store.prune(ERRORS, LATER + 31 * DAY, "admin") == Pruned(errors=2)


def test_a_report_that_one_destination_refused_may_be_on_its_way_to_another(
    store, received, assessment
):
    refused, _ = store.save_assessment(received(), assessment("fhir", "his"))
    store.record_undeliverable(refused, "422")
    assert store.prune(ERRORS, LATER, "admin") == Pruned()


@pytest.mark.parametrize("by", ["patient", "ecg"])
def test_what_is_held_stays_until_it_is_released(store, delivered, by):
    held, free = delivered("held", "4711"), delivered("free", "0815", minutes=1)
    patient, ecg = ("4711", None) if by == "patient" else (None, held)
    hold = Hold(UUID(int=1), NOW, "lawyer", "case 12", patient, ecg)
    store.add_hold(hold)
    assert store.holds() == (replace(hold, patient_identifier=None),)
    store.prune(ALL, LATER, "admin")
    assert store.load_exam(held).id == held
    with pytest.raises(NotFound):
        store.load_exam(free)
    store.release_hold(hold.id, "lawyer", LATER)
    assert store.holds() == ()
    assert store.prune(ALL, LATER, "admin").waveforms == 1
    with pytest.raises(NotFound):
        store.release_hold(hold.id, "lawyer", LATER)


def test_the_log_tells_of_pruning_and_is_pruned_itself(store, delivered):
    delivered()
    store.record_audit(AuditEntry(AuditKind.ACCESS, NOW, "viewer", None, {}))
    store.seal_audit()
    assert store.prunable(Periods(audit=30 * DAY), LATER).audit == 2  # the delivery is of today
    store.prune(ALL, LATER, "admin")
    store.seal_audit()
    kinds = [e.entry.kind for e in store.audit_entries()]
    assert AuditKind.PRUNED in kinds
    assert kinds[-1] == AuditKind.OPERATION
    assert store.verify_audit().broken_at is None


def test_many_go_in_pieces(store, delivered, monkeypatch):
    monkeypatch.setattr("db.retention._PIECE", 2)
    for n in range(5):
        delivered(str(n), minutes=n)
    told = []
    assert store.prune(Periods(waveforms=DAY), LATER, "admin", told.append).waveforms == 5
    assert told == [2, 2, 1]


def test_space_comes_back(store, delivered):
    for n in range(20):
        delivered(str(n), minutes=n)
    full = store.database_bytes()
    store.prune(ALL, LATER, "admin")
    store.vacuum()
    if store._engine.dialect.name == "sqlite":  # PostgreSQL keeps freed pages for the next rows
        assert 0 < store.database_bytes() < full
