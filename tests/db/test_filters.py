import pytest
from sqlalchemy import select

from db.clinical import Incoming
from db.filters import FilterError, Subject, matching, nameless, parse_filter
from db.records import MessageState
from db.sealed import SoughtInPart
from db.tables import DeliveryRow, ExamRow, MessageRow

TABLES = {Subject.MESSAGE: MessageRow, Subject.EXAM: ExamRow, Subject.DELIVERY: DeliveryRow}


@pytest.fixture
def find(store):
    """A function that returns how many of a subject a filter selects."""

    def count(source, subject=Subject.EXAM):
        query = select(TABLES[subject].id).where(matching(parse_filter(source), subject))
        with store._reading() as session:
            return len(session.scalars(query).all())

    return count


@pytest.fixture
def filled(store, received, assessment, message):
    """Three ECGs, of which two are assessed, and a refused message."""
    first = received("A1", identifier="4711")
    (id_,) = store.save_assessment(first, assessment("fhir"))
    store.record_undeliverable(id_, "422 wrong")
    second = received("A2", identifier="4712", minutes=10)
    store.save_assessment(second, assessment("fhir", "oru", unscorable="too-short"))
    received("B1", identifier="0815", minutes=20)
    refused = message("C1", sender="MONITOR^ICU")
    store.accept(Incoming(refused, MessageState.REFUSED, "lead-unknown", b"AR"))
    return store


def test_sealed_identifiers_are_found_whole(filled, find, keyring):
    if keyring is None:
        assert find("patient:471*") == 2
        return
    with pytest.raises(SoughtInPart) as raised:
        find("patient:471*")
    assert raised.value.reason == "filter-malformed"


def test_the_audit_log_gets_a_filter_without_names():
    source = 'patient:4711,4712 state:failed -order:P1  text:"J DOE" sender:A'
    assert nameless(source) == "patient:... state:failed -order:...  text:... sender:A"


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        ("", [4, 3, 3]),
        ("state:undeliverable", [1, 1, 1]),
        ("state:undeliverable,unscorable", [2, 2, 3]),
        ("-state:undeliverable", [3, 2, 2]),
        ("sender:CART^ED", [3, 3, 3]),
        ("sender:MON*", [1, 0, 0]),
        ("refusal:lead-*", [1, 0, 0]),
        ("message-state:refused", [1, 0, 0]),
        ("patient:4711,4712", [2, 2, 3]),
        ("patient:4711 type:MI", [1, 1, 1]),
        ("type:CD", [0, 0, 0]),
        ("reason:too-short", [1, 1, 2]),
        ("-reason:too-short", [3, 2, 1]),
        ("destination:oru", [1, 1, 1]),
        ("destination:oru,fhir -delivery-state:pending", [1, 1, 1]),
        ('answer:"422 wrong"', [1, 1, 1]),
        ("control-id:A1,B1", [2, 2, 1]),
        ("model:resting@1", [2, 2, 3]),
        ("received>=2026-03-01T12:05:00", [2, 2, 2]),
        ("received<2026-03-01T12:05:00+00:00 received>2026-03-01", [2, 1, 1]),
        ("score>=0.5", [0, 0, 0]),
        ("protocol:mllp order:P1 acquired<2030-01-01", [3, 3, 3]),
    ],
)
def test_the_same_terms_select_messages_exams_and_deliveries(filled, find, source, counts):
    assert [find(source, subject) for subject in Subject] == counts


def test_terms_of_deliveries_hold_for_one_delivery(store, received, assessment, find):
    first, _ = store.save_assessment(received("A1"), assessment("fhir", "oru"))
    store.record_undeliverable(first, "422 wrong")
    source = "delivery-state:undeliverable destination:"
    assert [find(source + name, Subject.EXAM) for name in ("fhir", "oru")] == [1, 0]
    assert [find(source + name, Subject.MESSAGE) for name in ("fhir", "oru")] == [1, 0]


def test_jokers_are_the_only_magic(store, received, find):
    received("A_1")
    received("AB1", minutes=1)
    assert find("control-id:A_1") == 1
    assert find("control-id:A_*") == 1
    assert find("control-id:A*") == 2
    assert find("control-id:%") == 0


def test_texts_are_kept_apart():
    found = parse_filter('text:"SINUS RHYTHM" state:failed text:I,II')
    assert found.texts == ("SINUS RHYTHM", "I,II")
    assert [t.field for t in found.terms] == ["state"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nonsense", "no term begins at"),
        ("colour:red", "no field colour"),
        ("state:dead", "dead is none of"),
        ("state>1", "has no order"),
        ("score>=high", "high is no number"),
        ("received:2026-01-01", "compared by"),
        ("received>=yesterday", "no time"),
        ("sender:a,", "empty value"),
        ('sender:"open', "no term begins at"),
        ("-text:x", "neither compared nor negated"),
        ("state:failed " * 33, "more than 32"),
    ],
)
def test_what_says_nothing_is_told(source, told):
    with pytest.raises(FilterError, match=told) as raised:
        parse_filter(source)
    assert raised.value.reason == "filter-malformed"


def test_times_without_a_zone_are_utc(store, received, find):
    received(minutes=0)
    assert find("received>=2026-03-01T12:00:00") == 1
    assert find("received>=2026-03-01T13:00:00+01:00") == 1
    assert find("received>2026-03-01T13:00:00+01:00") == 0
