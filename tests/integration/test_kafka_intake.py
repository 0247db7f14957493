import gzip
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest

import integration.kafka_intake
from db.records import ExamState, MessageState, PatientRef
from db.streaming import Stream
from integration.kafka.envelope import Record
from integration.kafka.settings import KafkaSettings, TopicSettings
from integration.kafka_intake import KafkaIntake
from tests import hl7_messages
from tests.chunk_events import RATE_HZ, T0, TYPE, chunk_bytes, stream_of
from tests.ecg_events import PATIENT, ecg_bytes
from tests.fhir_observations import component, observation

MAX_BYTES = 2**20
EVENT = [("ce_specversion", b"1.0"), ("ce_id", b"e1"), ("ce_source", b"//cart"), ("ce_type", b"t")]
HL7 = hl7_messages.wcm(*hl7_messages.wcm_lead("II", "^".join(map(str, range(3000)))))

OBSERVATION = observation([component("II", range(3000))], id="o1")


@pytest.fixture
def rung():
    return []


@pytest.fixture
def intake(store, rung):
    topics = {"hl7": TopicSettings(format="hl7"), "any": TopicSettings()}
    settings = KafkaSettings(
        bootstrap_servers="127.0.0.1:9", max_record_bytes=MAX_BYTES, topics=topics
    )
    return KafkaIntake(store, rung.extend, settings)


def record(value, headers=(), topic="any", offset=7):
    return Record(topic, 3, offset, b"key", value, headers)


def take(intake, record):
    (taken,) = intake.take([record])
    return taken


def recent(store):
    return store.recent_exams(10)


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        ((ecg_bytes(1), []), ("any", "event-1")),
        ((ecg_bytes(1), EVENT), ("//cart", "e1")),
        ((gzip.compress(ecg_bytes(1)), [("content-encoding", b"gzip")]), ("any", "event-1")),
        ((HL7, []), ("CART^WARD", "C1")),
        ((HL7, EVENT), ("//cart", "e1")),
        ((orjson.dumps(OBSERVATION), []), ("any", "Observation/o1")),
    ],
)
def test_a_record_becomes_one_ecg(intake, store, rung, sent, named):
    value, headers = sent
    taken = take(intake, record(value, headers))
    assert taken.refused is None
    (exam,) = recent(store)
    assert (exam.sender, exam.control_id) == named
    assert rung == [exam.id]
    # Read again at another offset, it is what it was.
    assert take(intake, record(value, headers, offset=8)) == taken
    assert recent(store) == (exam,)
    assert store.message_raw(taken.message_id) == value


@pytest.mark.parametrize(
    ("headers", "sender"), [(TYPE, "MONITOR-7^any"), ([*TYPE, *EVENT], "MONITOR-7^//cart")]
)
def test_a_chunk_waits_for_its_stream(intake, store, rung, headers, sender):
    value = chunk_bytes(3, id="c3")
    taken = take(intake, record(value, headers))
    assert taken.refused is None
    assert not rung
    (exam,) = recent(store)
    assert (exam.state, exam.sender) == (ExamState.PACKET, sender)
    assert take(intake, record(value, headers, offset=8)) == taken
    assert store.adopt_packets(10) == 1
    patient = PatientRef(PATIENT["identifier"], PATIENT["authority"])
    (chunk,) = store.chunks_from(Stream(sender, patient, float(RATE_HZ)), None)
    assert chunk.span.start == T0 + timedelta(seconds=3)


def test_a_chunk_of_a_bed_is_nobodys_until_an_admission_tells(intake, store):
    bed = {"unit": "ICU", "room": "3", "bed": "2"}
    take(intake, record(chunk_bytes(3, patient=None, bed=bed), TYPE))
    assert store.adopt_packets(10) == 0
    (exam,) = recent(store)
    assert exam.state is ExamState.UNASSOCIATED
    adt = "MSH|^~\\&|HIS|HOSP|||20240301||ADT^A01|A1|P|2.5\rEVN||20240301110000+0000\r"
    adt += "PID|1||ZZCANARY-4711^^^ZZCANARYHOSP\rPV1|1|I|ICU^3^2\r"
    assert take(intake, record(adt.encode(), topic="hl7")).refused is None
    assert store.adopt_packets(10) == 1
    assert len(store.chunks_from(stream_of("any"), None)) == 1


def test_traffic_without_an_ecg_is_kept(intake, store, rung):
    adt = b"MSH|^~\\&|HIS|HOSP|||20260102030405||ADT^A01|A1|P|2.5\rPID|1||4711\r"
    assert take(intake, record(adt, topic="hl7")).refused is None
    assert not rung
    assert status(store).messages[MessageState.NOT_ECG] == 1


def status(store):
    return store.status(datetime.now(UTC))


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        ((None, [], "any"), "record-empty"),
        ((b"", [], "any"), "record-empty"),
        ((b"garbage", [], "any"), "format-unknown"),
        ((b"garbage", [], "hl7"), "msh-missing"),
        (
            (ecg_bytes(1)[:-9], [("content-type", b"application/fhir+json")], "any"),
            "json-malformed",
        ),
        ((ecg_bytes(1, version=9), [], "any"), "event-unsupported"),
        ((ecg_bytes(1), [("content-encoding", b"zstd")], "any"), "compression-malformed"),
        ((b'{"resourceType":"Patient"}', [], "any"), "resource-unsupported"),
        ((bytes(MAX_BYTES + 1), [], "any"), "message-too-large"),
        ((chunk_bytes(seconds=5), TYPE, "any"), "chunk-too-long"),
        ((ecg_bytes(1, start="0001-01-01T00:00:00+14:00"), [], "any"), "time-malformed"),
    ],
)
def test_what_cannot_be_taken_is_kept_with_its_reason(intake, store, read, reason):
    taken = take(intake, record(*read))
    assert taken.refused.reason == reason
    assert status(store).refusals == {reason: 1}
    kept = store.message_raw(taken.message_id)
    assert kept == (read[0] or b"")[: 4096 if reason == "message-too-large" else None]


def test_tombstones_are_told_apart_by_their_place(intake):
    first, second = (take(intake, record(None, offset=n)).message_id for n in (1, 2))
    assert isinstance(first, UUID)
    assert first != second


def test_our_own_fault_is_no_reason_to_stop(intake, store, monkeypatch):
    def broken(_raw):
        raise ZeroDivisionError

    monkeypatch.setattr(integration.kafka_intake, "decode_ecg_event", broken)
    assert take(intake, record(ecg_bytes(1))).refused.reason == "internal-error"
    monkeypatch.undo()
    assert take(intake, record(ecg_bytes(1))).refused is None
    assert len(recent(store)) == 1
