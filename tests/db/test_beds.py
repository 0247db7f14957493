import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import date, timedelta
from itertools import permutations

import pytest

from db.beds import occupant
from db.clinical import BedMove, Clinical, Incoming
from db.errors import NotFound
from db.records import Bed, ExamState, MessageState, NewExam, PatientRef
from db.streaming import Stream
from tests.db.conftest import NOW
from tests.patience import PATIENCE_S

ANNA, BERT = PatientRef("ANNA", "HOSP"), PatientRef("BERT", "HOSP")
BED, NEXT = Bed("ICU^1^1", "HOSP"), Bed("ICU^1^2", "HOSP")


def at(minutes):
    return NOW + timedelta(minutes=minutes)


def move(patient, minutes, bed=BED, *, cancels=False):
    return BedMove(patient, at(minutes), bed, cancels)


STAY = [move(ANNA, 0), move(ANNA, 60, None), move(BERT, 90)]
CHANGE = [move(ANNA, 0), move(ANNA, 30, NEXT), move(ANNA, 60)]


@pytest.mark.parametrize(
    ("moves", "minutes", "patient"),
    [
        ([], 10, None),
        (STAY, -1, None),
        (STAY, 0, ANNA),
        (STAY, 59, ANNA),
        (STAY, 60, None),
        (STAY, 89, None),
        (STAY, 90, BERT),
        (CHANGE, 10, ANNA),
        (CHANGE, 30, None),
        (CHANGE, 70, ANNA),
        # two at once: a discharge is missing, or the place is a ward
        ([move(ANNA, 0), move(BERT, 30)], 10, ANNA),
        ([move(ANNA, 0), move(BERT, 30)], 40, None),
        ([move(ANNA, 0), move(BERT, 30), move(ANNA, 45, None)], 50, BERT),
        # two moves of the same minute: nobody knows which came last
        ([move(ANNA, 0), move(ANNA, 0, NEXT)], 10, None),
        ([move(ANNA, 0), move(ANNA, 0)], 10, ANNA),
        # what was taken back never was
        ([move(ANNA, 0), move(ANNA, 60, cancels=True)], 10, None),
        ([move(ANNA, 0), move(ANNA, 20), move(ANNA, 60, cancels=True)], 10, None),
        ([*CHANGE[:2], move(ANNA, 50, cancels=True)], 40, ANNA),
        ([*STAY[:2], move(ANNA, 70, cancels=True)], 80, ANNA),
        ([move(ANNA, 10, cancels=True)], 20, None),
    ],
)
def test_who_lay_there_whenever_the_messages_came(moves, minutes, patient):
    for order in permutations(moves):
        assert occupant(order, BED, at(minutes)) == patient


def test_no_news_for_a_month_is_no_knowledge():
    assert occupant([move(ANNA, 0)], BED, NOW + timedelta(days=29)) == ANNA
    assert occupant([move(ANNA, 0)], BED, NOW + timedelta(days=31)) is None
    again = [move(ANNA, 0), BedMove(ANNA, NOW + timedelta(days=20), BED)]
    assert occupant(again, BED, NOW + timedelta(days=40)) == ANNA


@pytest.mark.parametrize(
    ("bed", "patient"),
    [
        (Bed("ICU^1^1", "HOSP"), ANNA),
        (Bed("ICU^1^1"), ANNA),
        (Bed("ICU^1^1", "ELSEWHERE"), None),
        (Bed("icu^1^1"), None),
        (Bed("ICU^1"), None),
    ],
)
def test_a_bed_is_one_by_its_whole_name(bed, patient):
    assert occupant([move(ANNA, 0)], bed, at(1)) == patient


def test_a_bed_without_its_facility_is_nobodys_where_two_have_one_of_its_name():
    moves = [move(ANNA, 0), BedMove(BERT, NOW, Bed("ICU^1^1", "ELSEWHERE"))]
    assert occupant(moves, Bed("ICU^1^1"), at(1)) is None
    assert occupant(moves, Bed("ICU^1^1", "ELSEWHERE"), at(1)) == BERT


@pytest.fixture
def admitted(store, message):
    """A function that stores moves and returns the receipt."""

    def admit(*moves, rung=False):
        admit.count += 1
        new = message(f"ADT{admit.count}")
        told = Clinical(moves=moves)
        state = MessageState.NOT_ECG
        return store.accept(Incoming(new, state, "movement", b"AA", clinical=told), rung=rung)

    admit.count = 0
    return admit


@pytest.fixture
def recorded(store, message, ecg):
    """A function that stores an ECG of a bed and returns (its id, what the receipt tells)."""

    def record(minutes=10, bed=BED, acquired=None, start=None):
        new = message(f"ECG{minutes}{bed.name}{bed.facility}{acquired}")
        exam = NewExam(None, replace(ecg, start=start), acquired or at(minutes), bed=bed)
        receipt = store.accept(Incoming(new, MessageState.ACCEPTED, None, b"AA", [exam]), rung=True)
        return new.exam_id(0), receipt.exam_ids

    return record


def test_an_ecg_gets_the_patient_who_lies_there(store, admitted, recorded):
    admitted(move(ANNA, 0))
    exam_id, waiting = recorded()
    assert waiting == (exam_id,)
    assert store.load_exam(exam_id).patient == ANNA
    assert store.begin_scoring(exam_id).state is ExamState.RECEIVED


def test_an_ecg_of_an_unknown_bed_waits_for_word(store, admitted, recorded):
    exam_id, waiting = recorded()
    assert waiting == ()
    assert store.status(NOW).exams["unassociated"] == 1
    assert store.begin_scoring(exam_id) is None
    with pytest.raises(NotFound, match="nobody's yet"):
        store.load_exam(exam_id)
    assert admitted(move(BERT, 0, NEXT)).exam_ids == ()
    assert admitted(move(BERT, 20)).exam_ids == ()  # came after the ECG
    assert admitted(move(ANNA, 0), rung=True).exam_ids == (exam_id,)
    assert store.load_exam(exam_id).patient == ANNA
    assert store.status(NOW).exams["unassociated"] == 0
    assert admitted(move(ANNA, 1)).exam_ids == ()


def test_an_ecg_that_nobody_rang_for_is_swept(store, admitted, recorded):
    exam_id, _ = recorded()
    admitted(move(ANNA, 0))
    assert store.claim_waiting_exams(NOW, 10) == (exam_id,)


def test_a_discharge_makes_a_doubtful_bed_certain(store, admitted, recorded):
    admitted(move(ANNA, 0))
    admitted(move(BERT, 5))
    exam_id, waiting = recorded()
    assert waiting == ()
    assert admitted(move(ANNA, 4, None)).exam_ids == (exam_id,)
    assert store.load_exam(exam_id).patient == BERT


def test_many_wait_and_each_gets_its_own(store, admitted, recorded):
    early = [recorded(minutes)[0] for minutes in range(3)]
    late = [recorded(minutes)[0] for minutes in range(100, 103)]
    other = recorded(1, NEXT)[0]
    told = admitted(move(ANNA, -1), move(ANNA, 50, NEXT), move(BERT, 60))
    assert set(told.exam_ids) == {*early, *late}
    assert {store.load_exam(id_).patient for id_ in early} == {ANNA}
    assert {store.load_exam(id_).patient for id_ in late} == {BERT}
    assert store.status(NOW).exams["unassociated"] == 1
    with pytest.raises(NotFound):
        store.load_exam(other)


def test_an_ecg_and_its_admission_at_the_same_time(store, admitted, recorded, monkeypatch):
    inserted, committed = threading.Event(), threading.Event()

    def paused(*_):  # between an ECG's insertion and its commit
        if not inserted.is_set():
            inserted.set()
            committed.wait(PATIENCE_S)

    monkeypatch.setattr("db.messages.add_results", paused)
    with ThreadPoolExecutor(2) as pool:
        ecg = pool.submit(recorded)
        assert inserted.wait(PATIENCE_S)
        admission = pool.submit(admitted, move(ANNA, 0))
        wait([admission], timeout=0.3)
        committed.set()
        exam_id, _ = ecg.result()
        admission.result()
    assert store.load_exam(exam_id).patient == ANNA


def test_a_monitors_packet_goes_to_its_stream_next(store, admitted, recorded, ecg):
    object.__setattr__(ecg, "voltage_mv", ecg.voltage_mv[:, :250])  # a second
    recorded(start=at(4))
    assert admitted(move(ANNA, 0), rung=True).exam_ids == ()
    assert store.adopt_packets(10) == 1
    stream = Stream("CART^ED", ANNA, 250.0)
    assert len(store.chunks_from(stream, None)) == 1


def test_a_day_is_no_time(store, admitted, recorded):
    admitted(move(ANNA, -10_000))
    assert recorded(acquired=date(2026, 3, 1))[1] == ()
    assert admitted(move(ANNA, -9_000)).exam_ids == ()


def test_the_same_admission_twice_is_one(store, message):
    told = Clinical(moves=(move(ANNA, 0),))
    for _ in range(2):
        receipt = store.accept(
            Incoming(message(), MessageState.NOT_ECG, "movement", b"AA", clinical=told)
        )
    assert receipt.duplicate
