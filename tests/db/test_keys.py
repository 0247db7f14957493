from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import column, event, select, table

from db.clinical import BedMove, Clinical, Incoming, NewResult, OrderRef
from db.errors import StoreUnusable
from db.filters import parse_filter
from db.keyring import Key, Keyring
from db.keys import KeyUse
from db.records import Bed, MessageState, PatientRef
from db.replays import Replay, ReplayState, Stage
from db.retention import Hold, Periods
from db.store import Store
from db.upkeep_tables import HoldRow
from tests.db.conftest import BOTH, NOW

A, B = Key("a", b"\1" * 32), Key("b", b"\2" * 32)
INDEX, NEXT = Key("i", b"\3" * 32), Key("j", b"\4" * 32)
FIRST, SECOND = Keyring([A], [INDEX]), Keyring([B, A], [NEXT, INDEX])
CANARY = "ZZCANARY-77"
WHO = PatientRef(CANARY, CANARY)
TABLES = {
    "message": "raw, answer",
    "exam": "patient_identifier, patient_authority, placer_order, filler_order, bed, bed_facility, "
    "patient_token, authority_token, order_token, bed_token",
    "bed_move": "patient_identifier, patient_authority, bed, facility, patient_token, bed_token",
    "placed_order": "patient_identifier, placer_order, filler_order, filler_token, patient_token",
    "result": "patient_identifier, placer_order, statements",
    "report": "bundle",
    "hold": "patient_identifier",
    "replay": "filter",
}


pytestmark = pytest.mark.parametrize("store_url", BOTH, indirect=True)


@pytest.fixture
def opened(store_url, store):
    """A function that opens the same, emptied database with a keyring, its keys checked."""
    stores = []

    def open_(keyring):
        stores.append(Store.open(store_url, keyring))
        stores[-1].check_keys()
        return stores[-1]

    yield open_
    for one in stores:
        one.close()


def fill(store, message, exam, assessment, control_id="1"):
    """Store one message with all that may name a patient; return its ECG's id."""
    new = message(control_id, raw=b"MSH|" + CANARY.encode() * 50)
    one = replace(
        exam(CANARY, CANARY), placer_order=CANARY, filler_order=CANARY, bed=Bed(CANARY, CANARY)
    )
    clinical = Clinical(
        results=(NewResult(WHO, (), (CANARY,), None, CANARY, CANARY, 0),),
        moves=(BedMove(WHO, NOW, Bed(CANARY, CANARY)),),
        orders=(OrderRef(WHO, CANARY, CANARY),),
    )
    answer = CANARY.encode()
    receipt = store.accept(
        Incoming(new, MessageState.ACCEPTED, None, answer, [one], clinical=clinical)
    )
    report = {"resourceType": "Bundle", "patient": CANARY}
    store.save_assessment(receipt.exam_ids[0], replace(assessment("fhir"), report=report))
    return receipt.exam_ids[0]


def hold_and_replay(store, exam_id):
    store.add_hold(Hold(exam_id, NOW, "me", "a case", CANARY, None))
    state = (ReplayState.RUNNING, 0, 0, 0, None, None)
    store.begin_replay(Replay(exam_id, NOW, "me", f"patient:{CANARY}", Stage.SCORE, *state))


def stored(store):
    """Return every value of TABLES as it lies in the database."""
    with store._engine.connect() as connection:
        return {
            name: [tuple(map(as_text, row)) for row in connection.execute(named(name, columns))]
            for name, columns in TABLES.items()
        }


def named(name, columns):
    return select(*map(column, columns.split(", "))).select_from(table(name))


def as_text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)


def holds(store):
    with store._reading() as session:
        return session.scalars(select(HoldRow)).all()


def everything_is_read(store, exam_id):
    exam = store.load_exam(exam_id)
    assert (exam.patient, exam.placer_order, exam.filler_order) == (WHO, CANARY, CANARY)
    assert CANARY.encode() in store.message_raw(exam.message_id)
    assert store.read_report(exam_id).bundle["patient"] == CANARY
    assert store.results_of_exam(exam_id)[0].statements == (CANARY,)
    assert [row.patient_identifier.open(row.id) for row in holds(store)] == [CANARY]
    assert store.replay(exam_id).filter == f"patient:{CANARY}"
    assert store.search_reports(identifier=CANARY, authority=CANARY)[0] >= 1
    assert store.count_exams(parse_filter(f"patient:{CANARY} order:{CANARY}")) >= 1
    assert store.count_exams(parse_filter("patient:other")) == 0


def test_no_identifier_lies_open_once_there_are_keys(opened, message, exam, assessment):
    store = opened(FIRST)
    id_ = fill(store, message, exam, assessment)
    hold_and_replay(store, id_)
    assert CANARY not in repr(stored(store))
    assert CANARY not in repr([e.entry for e in sealed_audit(store)])
    everything_is_read(store, id_)
    assert store.is_resealed()  # nothing was there before


def sealed_audit(store):
    store.seal_audit()
    return store.audit_entries()


def test_a_plain_database_is_sealed_while_it_is_used(opened, message, exam, assessment):
    plain = opened(None)
    id_ = fill(plain, message, exam, assessment)
    hold_and_replay(plain, id_)
    assert CANARY in repr(stored(plain))
    store = opened(FIRST)
    everything_is_read(store, id_)
    assert not store.is_resealed()
    looked_at = []
    assert store.reseal(looked_at.append) == 9
    assert sum(looked_at) == store.sealable_rows() == 9
    assert CANARY not in repr(stored(store))
    everything_is_read(store, id_)
    assert store.is_resealed()
    before = stored(store)
    assert store.reseal() == 0  # what is there is passed over
    assert stored(store) == before


def test_keys_are_exchanged_without_a_gap(opened, message, exam, assessment):
    old = opened(FIRST)
    id_ = fill(old, message, exam, assessment)
    hold_and_replay(old, id_)
    both = opened(SECOND)
    everything_is_read(both, id_)
    second = fill(both, message, exam, assessment, "2")
    assert both.search_reports(identifier=CANARY)[0] == 2
    with pytest.raises(StoreUnusable, match="key-missing: the settings have no seal key a"):
        opened(Keyring([B], [NEXT, INDEX]))
    assert both.forget_keys("me") == ()
    assert both.reseal() == 9
    assert [(u.kind, u.id) for u in both.forget_keys("me")] == [("seal", "a"), ("index", "i")]
    alone = opened(Keyring([B], [NEXT]))
    everything_is_read(alone, id_)
    assert alone.load_exam(second).patient == WHO
    uses = {(u.kind, u.id): u.count for u in alone.key_uses()}
    assert set(uses) == {("seal", None), ("index", None), ("seal", "b"), ("index", "j")}
    assert uses["seal", None] == uses["index", None] == 0
    assert uses["index", "j"] == 2 * (4 + 3 + 3)  # exams, moves, orders


def test_a_piece_that_is_killed_is_done_again(opened, message, exam, assessment):
    plain = opened(None)
    ids = [fill(plain, message, exam, assessment, str(n)) for n in range(3)]
    store = opened(FIRST)

    def stop(_count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.reseal(stop)
    assert not store.is_resealed()
    assert 0 < store.reseal() < 3 * 7
    assert store.is_resealed()
    assert store.load_exam(ids[2]).patient == WHO
    assert KeyUse("seal", None, 0) in store.key_uses()


@pytest.mark.parametrize(
    ("work", "statement"),
    [
        (Store.sealable_rows, "FROM exam"),
        (Store.key_uses, "FROM exam"),
        (Store.reseal, "UPDATE delivery"),
        (lambda store: store.status(NOW), "FROM message"),
    ],
)
def test_postgresql_ends_nothing_that_goes_through_whole_tables(opened, work, statement):
    store = opened(FIRST)
    on_postgresql = store._engine.dialect.name == "postgresql"
    limits = set()

    def note(_connection, cursor, told, *_):
        if on_postgresql and statement in told:
            limits.update(cursor.connection.execute("SHOW statement_timeout").fetchone())

    event.listen(store._engine, "before_cursor_execute", note)
    work(store)
    assert limits == ({"0"} if on_postgresql else set())
    with closing(store._engine.raw_connection()) as connection:  # of the next transaction
        note(None, connection.cursor(), statement)
    assert limits == ({"0", "30s"} if on_postgresql else set())


@pytest.mark.parametrize(
    ("keyring", "reason"),
    [
        (None, "key-missing"),
        (Keyring([B], [INDEX]), "key-missing"),
        (Keyring([A], [NEXT]), "key-missing"),
        (Keyring([Key("a", b"\x09" * 32)], [INDEX]), "key-wrong"),
        (Keyring([A], [Key("i", b"\x09" * 32)]), "key-wrong"),
    ],
)
def test_a_key_that_is_missing_or_another_is_told_at_the_start(opened, keyring, reason):
    opened(FIRST)
    with pytest.raises(StoreUnusable) as raised:
        opened(keyring)
    assert raised.value.reason == reason
    opened(FIRST)  # nothing was changed


def test_without_keys_there_is_nothing_to_bring_under_them(opened):
    with pytest.raises(StoreUnusable, match="key-missing"):
        opened(None).reseal()
    assert opened(None).forget_keys("me") == ()


def test_a_held_patient_stays_held_while_keys_are_exchanged(opened, message, exam, assessment):
    store = opened(FIRST)
    id_ = fill(store, message, exam, assessment)
    tomorrow = NOW + timedelta(days=1)
    (delivery_id,) = store.claim_due_deliveries(tomorrow, tomorrow, 9)
    store.record_delivered(delivery_id, "ok")
    hold_and_replay(store, id_)
    both = opened(SECOND)
    later = NOW + timedelta(days=900)
    periods = Periods(timedelta(1), timedelta(1), timedelta(1))
    assert both.prunable(periods, later).waveforms == 0
    both.release_hold(id_, "me", NOW)
    assert both.prunable(periods, later).waveforms == 1


def test_who_lay_in_a_bed_is_known_while_keys_are_exchanged(opened, message, exam):
    move = BedMove(WHO, NOW, Bed("7"))
    opened(FIRST).accept(
        Incoming(
            message("1"), MessageState.NOT_ECG, None, b"AA", [], clinical=Clinical(moves=(move,))
        )
    )
    both = opened(SECOND)
    away = BedMove(WHO, NOW + timedelta(hours=1), None)
    both.accept(
        Incoming(
            message("2"), MessageState.NOT_ECG, None, b"AA", [], clinical=Clinical(moves=(away,))
        )
    )
    for control_id, hours, known in (("3", 0.5, 1), ("4", 2, 0)):
        one = replace(exam(), patient=None, bed=Bed("7"), acquired=NOW + timedelta(hours=hours))
        receipt = both.accept(
            Incoming(message(control_id), MessageState.ACCEPTED, None, b"AA", [one])
        )
        assert len(receipt.exam_ids) == known
