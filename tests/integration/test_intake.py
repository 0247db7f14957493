import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest

import db.engine
from db.errors import StoreUnavailable
from integration.errors import answer_to
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.framing import Frame, Framer, Junk, frame
from integration.hl7v2.modes import AckMode
from integration.intake import Hl7Intake
from integration.senders import Entry, Peer, Sender, Senders
from tests.hl7_messages import MSH, OBR, RATE, RESOLUTION, twelve, wcm, wcm_lead

PEER = Peer("127.0.0.1")
EVERYBODY = Senders((), Sender("", "ascii", None), closed=False)
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PID = "PID|1||ZZCANARY-4711^^^HOSP^MR||ZZCANARY^JOHN||19700101|M|||ZZCANARY STREET 1"
SAMPLES = "^".join("012" * 1000)  # 6 s: an ECG by itself, no packet of a monitor
GOOD = wcm(*twelve(SAMPLES), pid=PID)
ADT = b"MSH|^~\\&|ADT|WARD|HIS|HOSP|20260102030405||ADT^A01|A1|P|2.5\rEVN|A01\rPID|1||4711\r"


@pytest.fixture
def rung():
    return []


@pytest.fixture
def intake(store, rung):
    return Hl7Intake(store, rung.extend, EVERYBODY, clock=lambda: NOW)


def received(raw, max_bytes=2**20):
    """What an MLLP listener makes of these bytes."""
    framer = Framer(max_bytes)
    return [*framer.feed(raw), *framer.close()]


def test_an_ecg_is_stored_acknowledged_and_rung(intake, store, rung, caplog):
    caplog.set_level("DEBUG")
    answer = read_acknowledgement(intake.answer(Frame(GOOD), PEER))
    assert (answer.code, answer.control_id, answer.texts) == ("AA", "C1", ())
    (exam_id,) = rung
    exam = store.load_exam(exam_id)
    assert exam.patient.identifier == "ZZCANARY-4711"
    assert len(exam.ecg.leads) == 12
    assert store.message_raw(exam.message_id) == GOOD
    assert f"ecg waits message={exam.message_id}" in caplog.text


def test_the_same_again_gets_the_first_answer_and_rings_nobody(intake, store, rung):
    first = intake.answer(Frame(GOOD), PEER)
    assert intake.answer(Frame(GOOD), PEER) == first
    assert len(rung) == 1
    assert store.status(NOW).messages["accepted"] == 1


def enhanced(raw, accept, application):
    msh, rest = raw.split(b"\r", 1)
    fields = [*(msh.split(b"|") + [b""] * 14)[:14], accept, application]
    return b"|".join(fields) + b"\r" + rest


def codes(reply):
    blocks = Framer(2**20).feed(frame(reply)) if reply else []
    return [read_acknowledgement(block.payload) for block in blocks]


def test_enhanced_mode_gets_its_answers_after_the_commit(intake, store):
    both = codes(intake.answer(Frame(enhanced(GOOD, b"AL", b"AL")), PEER))
    assert [(a.code, a.control_id) for a in both] == [("CA", "C1"), ("AA", "C1")]
    bad = enhanced(wcm(*twelve(), pid="PID|1||"), b"AL", b"AL")
    accepted, refused = codes(intake.answer(Frame(bad), PEER))
    assert (accepted.code, accepted.texts) == ("CA", ())
    assert refused.code == "AR"
    assert "patient-missing" in refused.texts[0]
    assert store.status(NOW).messages["refused"] == 1


def test_enhanced_mode_without_any_answer_is_stored_all_the_same(intake, store):
    assert intake.answer(Frame(enhanced(GOOD, b"NE", b"NE")), PEER) == b""
    assert intake.answer(Frame(enhanced(GOOD, b"NE", b"NE")), PEER) == b""
    assert store.status(NOW).messages["accepted"] == 1


BATCH = b"BHS|^~\\&|ARCHIVE|HOSP|HIS|US|2026||||B1\r%sBTS|%d\r"


def test_a_batch_is_answered_message_by_message(intake, store, rung):
    bad = wcm(*twelve(), pid="PID|1||").replace(b"|C1|", b"|C2|", 1)
    batch = Frame(BATCH % (GOOD + ADT + bad, 3))
    answer = intake.answer(batch, PEER)
    assert answer.startswith(b"BHS|^~\\&|HIS|US|ARCHIVE|HOSP|")
    told = [line.split(b"|")[1:3] for line in answer.split(b"\r") if line.startswith(b"MSA")]
    assert told == [[b"AA", b"C1"], [b"AA", b"A1"], [b"AR", b"C2"]]
    assert answer.endswith(b"BTS|3\r")
    assert len(rung) == 1
    assert intake.answer(batch, PEER) == answer
    assert len(rung) == 1
    # The same message alone is the same message.
    assert read_acknowledgement(intake.answer(Frame(GOOD), PEER)).code == "AA"
    assert store.status(NOW).messages == {"accepted": 1, "not-ecg": 1, "refused": 1}


def test_a_batch_that_was_cut_is_refused_whole_and_kept(intake, store, rung):
    answer = read_acknowledgement(intake.answer(Frame(BATCH % (GOOD, 2)), PEER))
    assert (answer.code, answer.control_id) == ("AR", "B1")
    assert "batch-count-mismatch" in answer.texts[0]
    assert store.status(NOW).refusals == {"batch-count-mismatch": 1}
    assert rung == []


def test_a_locked_store_is_told_at_the_accept_level(store, intake, monkeypatch):
    def full(*_args, **_kwargs):
        raise StoreUnavailable("store-unavailable", "full")

    monkeypatch.setattr(store, "accept", full)
    (only,) = codes(intake.answer(Frame(enhanced(GOOD, b"AL", b"AL")), PEER))
    assert only.code == "CE"


def test_the_same_control_id_with_other_content_is_another_message(intake, store, rung):
    intake.answer(Frame(GOOD), PEER)
    other = wcm(*twelve("5^" + SAMPLES), pid=PID)
    assert read_acknowledgement(intake.answer(Frame(other), PEER)).code == "AA"
    assert store.status(NOW).messages["accepted"] == 2
    assert len(set(rung)) == 2


def test_other_traffic_is_acknowledged_and_recorded(intake, store, rung):
    assert read_acknowledgement(intake.answer(Frame(ADT), PEER)).code == "AA"
    assert store.status(NOW).messages["not-ecg"] == 1
    assert rung == []


def test_other_traffic_is_recorded_with_what_it_was_about(intake, store, tmp_path):
    study = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "93000^ELECTROCARDIOGRAM^CPT4")
    qt = "NM|8634-8^QT^LN||400|ms|||||F"
    pdf = "ED|11524-6^EKG^LN||^application^pdf^Base64^JVBERi0xLjQK||||||F"
    for raw in (wcm(qt, obr=study), wcm(pdf, obr=study), admission("03")):
        assert read_acknowledgement(intake.answer(Frame(raw), PEER)).code == "AA"
    with sqlite3.connect(tmp_path / "test.db") as connection:
        found = connection.execute("SELECT state, reason FROM message ORDER BY reason").fetchall()
        assert found == [("not-ecg", r) for r in ("document", "measurements", "movement")]
        (values,) = connection.execute("SELECT measurements FROM result").fetchone()
    assert json.loads(values) == [{"quantity": "qt-interval", "value": 400.0, "unit": "ms"}]


def admission(hour):
    header = MSH.replace("ORU^R01^ORU_R01", "ADT^A01").replace("|C1|", f"|A{hour}|")
    event = f"EVN|A01|202601020{int(hour)}0000+0100"
    return f"{header}\r{event}\r{PID}\rPV1|1|I|HDU^507^3\r".encode()


def test_an_ecg_of_a_bed_waits_until_an_admission_tells_whose_it_is(intake, store, rung):
    bedside = wcm(*twelve(SAMPLES), pid="PID|||^^^HOSP^PI\rPV1||I|HDU^507^3")
    assert read_acknowledgement(intake.answer(Frame(bedside), PEER)).code == "AA"
    assert store.status(NOW).exams["unassociated"] == 1
    intake.answer(Frame(admission("04")), PEER)
    assert rung == []  # an hour after the ECG
    intake.answer(Frame(admission("03")), PEER)
    (exam_id,) = rung
    assert store.load_exam(exam_id).patient.identifier == "ZZCANARY-4711"
    assert store.status(NOW).exams["unassociated"] == 0


def test_what_is_left_out_is_logged_by_its_reason_alone(intake, caplog):
    caplog.set_level("INFO")
    stranger = "NA|27^^CAPSULE|1.99.1.27|1^2|||||F"
    intake.answer(Frame(wcm(*twelve(), stranger, pid=PID)), PEER)
    assert "left out of a message reason=lead-unknown place=('OBX', 37, 3)" in caplog.text
    assert "CANARY" not in caplog.text


def lead_with(*attributes, samples="0^1^-2"):
    return wcm(*wcm_lead("I", samples, attributes=attributes), pid=PID)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (PID.encode() + b"\r", ("msh-missing", b"|||100^Segment sequence error")),
        (GOOD.replace(b"|C1|", b"||", 1), ("control-id-missing", b"MSH^1^10")),
        (
            GOOD.replace(b"MDC_ECG_ELEC_POTL_V1", b"MDC_ECG_ELEC_POTL_V9"),
            ("lead-unknown", b"OBX^"),
        ),
        (lead_with(RESOLUTION), ("rate-missing", b"OBX^")),
        (lead_with(RATE), ("resolution-missing", b"OBX^")),
        (
            wcm(*wcm_lead("I"), *wcm_lead("II", "0^1", path="1.1.1.2")),
            ("lengths-differ", b"OBX^"),
        ),
        (
            lead_with(RATE, RESOLUTION, samples="0^one^2"),
            ("samples-malformed", b"OBX^1^5"),
        ),
        (wcm(*twelve(), pid="PID|1||"), ("patient-missing", b"PID^1^3")),
        (
            GOOD.replace(b"|2.6", b"|2.6||||||KLINGON", 1),
            ("charset-unsupported", b"MSH^1^18"),
        ),
        (
            GOOD.replace(b"HOSP^MR", b"H\xd6SP^MR"),
            ("charset-undecodable", b"PID^1^3"),
        ),
    ],
)
def test_bad_input_is_refused_with_its_reason_and_kept(intake, store, raw, expected):
    reason, told = expected
    (block,) = received(frame(raw))
    answer = intake.answer(block, PEER)
    assert read_acknowledgement(answer).code == answer_to(reason).ack
    assert b"\rERR|" in answer
    assert reason.encode() in answer
    assert told in answer
    assert store.status(NOW).refusals == {reason: 1}
    assert store.status(NOW).exams["received"] == 0
    assert intake.answer(block, PEER) == answer


def test_what_breaks_the_decoder_is_kept_and_may_come_again(intake, store, rung, monkeypatch):
    def broken(*_args, **_kwargs):
        raise KeyError("OBX")

    with monkeypatch.context() as patched:
        patched.setattr("integration.intake.decode", broken)
        answer = intake.answer(Frame(GOOD), PEER)
    assert read_acknowledgement(answer).code == "AE"
    assert b"internal-error" in answer
    assert store.status(NOW).refusals == {"internal-error": 1}
    assert read_acknowledgement(intake.answer(Frame(GOOD), PEER)).code == "AA"
    assert len(rung) == 1


def test_bytes_outside_of_a_frame_are_refused_and_kept(intake, store):
    (junk,) = received(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(junk, Junk)
    told = read_acknowledgement(intake.answer(junk, PEER))
    assert (told.code, told.control_id) == ("AR", "")
    assert store.status(NOW).refusals == {"framing-invalid": 1}


def test_forty_megabytes_are_refused_without_being_kept_whole(intake, store):
    raw = frame(MSH.encode() + b"\r" + b"x" * 40_000_000)
    (block,) = received(raw, max_bytes=16 * 2**20)
    assert block.size == len(raw) - 3
    assert block.sha256 == hashlib.sha256(raw[1:-2]).hexdigest()
    told = read_acknowledgement(intake.answer(block, PEER))
    assert (told.code, told.control_id) == ("AR", "C1")
    assert store.status(NOW).refusals == {"message-too-large": 1}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(db.engine, "_WAIT_FOR_LOCK_MS", 20)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_locked_means_send_it_again(intake, store, rung, tmp_path):
    with sqlite3.connect(tmp_path / "test.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = intake.answer(Frame(GOOD), PEER)
        other.rollback()
    other.close()
    assert read_acknowledgement(answer).code == "AE"
    assert b"store-unavailable" in answer
    assert rung == []
    assert store.status(NOW).messages["accepted"] == 0
    assert read_acknowledgement(intake.answer(Frame(GOOD), PEER)).code == "AA"


def test_without_a_doorbell_the_sweep_finds_it_at_once(store):
    intake = Hl7Intake(store, None, EVERYBODY)
    intake.answer(Frame(GOOD), PEER)
    assert len(store.claim_waiting_exams(NOW.replace(year=2000), 10)) == 1


CARTS = Sender("carts", "iso8859-1", ZoneInfo("Europe/Vienna"), AckMode.ENHANCED, {"ABL 1": "I"})
TABLE = Senders(
    [Entry(CARTS, applications=("CART",), networks=(ip_network("10.20.0.0/16"),))],
    Sender("", "ascii", None),
    closed=True,
)
CART = Peer("10.20.0.7")


@pytest.fixture
def guarded(store, rung):
    return Hl7Intake(store, rung.extend, TABLE, clock=lambda: NOW)


def test_a_known_sender_is_read_and_answered_its_own_way(guarded, store, rung):
    naive = GOOD.replace(b"+0100", b"").replace(b"HOSP^MR", b"H\xd6SP^MR")
    answer = read_acknowledgement(guarded.answer(Frame(naive), CART))
    assert (answer.code, answer.control_id) == ("CA", "C1")
    exam = store.load_exam(rung[0])
    assert exam.patient.authority == "HÖSP"
    assert exam.acquired == datetime(2026, 1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Vienna"))


def test_a_known_sender_has_its_own_words_for_leads(guarded, store, rung):
    guarded.answer(Frame(GOOD.replace(b"131329^MDC_ECG_ELEC_POTL_I^MDC", b"^ABL 1^L")), CART)
    assert store.load_exam(rung[0]).ecg.leads[0] == "I"


def test_a_refusal_goes_to_the_sender_in_its_mode_too(guarded):
    bad = wcm(*twelve(), pid="PID|1||")
    assert read_acknowledgement(guarded.answer(Frame(bad), CART)).code == "CR"


def test_an_unknown_sender_is_refused_and_its_bytes_are_kept(guarded, store, rung):
    answer = guarded.answer(Frame(ADT), CART)
    assert read_acknowledgement(answer).code == "AR"
    assert b"MSH^1^3" in answer
    assert store.status(NOW).refusals == {"unknown-sender": 1}
    assert rung == []


def test_a_sender_at_the_wrong_place_is_refused_and_may_be_let_in_later(guarded, store, rung):
    answer = read_acknowledgement(guarded.answer(Frame(GOOD), Peer("10.21.0.7")))
    assert answer.code == "AR"
    assert answer.texts[0].startswith("sender-not-allowed")
    assert store.status(NOW).refusals == {"sender-not-allowed": 1}
    assert rung == []
    assert read_acknowledgement(guarded.answer(Frame(GOOD), CART)).code == "CA"
    assert store.status(NOW).refusals == {}
    assert len(rung) == 1


def test_an_impostor_does_not_hear_the_true_senders_answer(guarded, store, caplog):
    guarded.answer(Frame(GOOD), CART)
    answer = read_acknowledgement(guarded.answer(Frame(GOOD), Peer("10.21.0.7")))
    assert answer.code == "AR"
    assert store.status(NOW).refusals == {"sender-not-allowed": 1}
    assert "denied peer=10.21.0.7 reason=sender-not-allowed" in caplog.text


def test_messages_of_a_batch_need_their_senders_too(guarded, store):
    answer = guarded.answer(Frame(BATCH % (GOOD + ADT, 2)), Peer("10.21.0.7"))
    assert answer.count(b"MSA|AR|") == 2
    assert store.status(NOW).refusals == {"sender-not-allowed": 1, "unknown-sender": 1}


def test_a_refused_connection_is_recorded_once_a_day_for_a_peer_and_a_reason(store):
    clock = iter([NOW, NOW, NOW, NOW, NOW.replace(day=2)])
    intake = Hl7Intake(store, None, EVERYBODY, clock=lambda: next(clock))
    for peer in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        intake.refuse_connection(Peer(peer), "tls-plain-text")
    intake.refuse_connection(Peer("10.0.0.1"), "tls-certificate-expired")
    intake.refuse_connection(Peer("10.0.0.1"), "tls-plain-text")
    told = store.status(NOW)
    assert told.refusals == {"tls-plain-text": 3, "tls-certificate-expired": 1}
    assert told.messages["refused"] == 4


def test_a_refusal_that_cannot_be_stored_is_logged(intake, store, monkeypatch, caplog):
    def away(*_args, **_kwargs):
        raise StoreUnavailable("store-unavailable", "away")

    monkeypatch.setattr(store, "accept", away)
    intake.refuse_connection(PEER, "tls-plain-text")
    assert "refused connection not stored reason=store-unavailable" in caplog.text
