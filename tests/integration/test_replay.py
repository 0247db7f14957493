from datetime import UTC, datetime
from ipaddress import ip_network

import orjson

from db.replays import ReplayState, Stage
from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from integration.hl7v2.framing import Frame
from integration.intake import Hl7Intake
from integration.replay import PIECE, Replayer, fhir_reader, hl7_reader
from integration.senders import Entry, Peer, Sender, Senders
from tests.hl7_messages import twelve, wcm

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PEER = Peer("127.0.0.1")
ASCII = Senders((), Sender("", "ascii", None), closed=False)
LATIN = Senders((), Sender("", "iso8859-1", None), closed=False)
SAMPLES = "^".join("012" * 1000)
PID = "PID|1||ZZCANARY-4711^^^HOSP^MR||ZZCANARY^J{}||19700101|M"


def message(letter="\xe9"):
    return wcm(*twelve(SAMPLES), pid=PID.format(letter)).decode("utf-8").encode("iso8859-1")


def replayer(store, senders=LATIN):
    return Replayer(
        store,
        {
            "mllp": hl7_reader(Hl7Intake(store, None, senders)),
            "fhir": fhir_reader(FhirIntake(store, None)),
        },
    )


def refuse(store, *control_ids):
    """Refuse messages for their character set."""
    intake = Hl7Intake(store, None, ASCII)
    for control_id in control_ids:
        head = f"MSH|^~\\&|CART|ED|HIS|HOSP|20260301120000||ADT^A08|{control_id}|P|2.5\r"
        intake.answer(Frame(head.encode() + b"PID|1||ZZCANARY^\xe9\r"), PEER)


def test_a_message_is_taken_once_its_character_set_is_set(store):
    Hl7Intake(store, None, ASCII).answer(Frame(message()), PEER)
    assert store.status(NOW).refusals == {"charset-undecodable": 1}
    mended = replayer(store)
    started = mended.begin("refusal:charset-undecodable", Stage.DECODE, "admin")
    ended = mended.run(started)
    assert (ended.state, ended.matched, ended.succeeded, ended.failed) == ("done", 1, 1, 0)
    assert store.status(NOW).exams["received"] == 1
    again = mended.run(mended.begin("", Stage.DECODE, "admin"))
    assert (again.matched, again.succeeded) == (0, 0)
    assert store.status(NOW).exams["received"] == 1


def test_the_same_settings_change_nothing(store):
    Hl7Intake(store, None, ASCII).answer(Frame(message()), PEER)
    same = replayer(store, ASCII)
    ended = same.run(same.begin("", Stage.DECODE, "admin"))
    assert (ended.succeeded, ended.failed) == (0, 1)
    assert store.status(NOW).refusals == {"charset-undecodable": 1}


def test_a_sender_that_was_let_in_is_not_asked_for_its_network_again(store):
    near = Senders(
        (Entry(Sender("cart", "iso8859-1", None), networks=(ip_network("10.0.0.0/8"),)),),
        Sender("", "ascii", None),
        closed=True,
    )
    Hl7Intake(store, None, ASCII).answer(Frame(message()), PEER)
    assert (
        replayer(store, near).act(Stage.DECODE, replayer(store).preview("", Stage.DECODE, 9)) == 1
    )


def test_who_was_denied_has_to_come_again(store):
    closed = Senders((), Sender("", "ascii", None), closed=True)
    Hl7Intake(store, None, closed).answer(Frame(message("x")), PEER)
    ids = replayer(store).preview("refusal:unknown-sender", Stage.DECODE, 9)
    assert len(ids) == 1
    assert replayer(store).act(Stage.DECODE, ids) == 0


def test_a_fhir_body_is_read_again(store):
    intake = FhirIntake(store, None)
    body = orjson.dumps({"resourceType": "Observation", "status": "final", "code": {"text": "x"}})
    intake.answer(body, Interaction.CREATE, Origin("client"))
    mended = replayer(store)
    ids = mended.preview("protocol:fhir", Stage.DECODE, 9)
    assert len(ids) == 1
    assert mended.act(Stage.DECODE, ids) == 0  # still no ECG


def test_what_a_text_filter_does_not_find_is_left_alone(store):
    refuse(store, "A", "B")
    mended = replayer(store, ASCII)
    assert len(mended.preview("text:adt^a08|a", Stage.DECODE, 9)) == 1
    ended = mended.run(mended.begin("text:adt^a08|a", Stage.DECODE, "admin"))
    assert (ended.matched, ended.failed) == (2, 1)


def test_a_pause_is_heard_after_the_piece_and_resuming_goes_on_there(store):
    refuse(store, *map(str, range(2 * PIECE + 5)))
    mended = replayer(store, ASCII)
    started = mended.begin("", Stage.DECODE, "admin")

    def pause(_count):
        store.set_replay_state(started.id, ReplayState.PAUSED, NOW)

    # Told after the first piece, heard with the second one's note.
    paused = mended.run(started, told=pause)
    assert (paused.state, paused.failed) == ("paused", 2 * PIECE)
    store.set_replay_state(started.id, ReplayState.RUNNING, NOW)
    ended = mended.run(store.replay(started.id))
    assert (ended.state, ended.failed) == ("done", 2 * PIECE + 5)


def test_a_cancelled_replay_stops(store):
    refuse(store, "A", "B", "C")
    mended = replayer(store, ASCII)
    started = mended.begin("", Stage.DECODE, "admin")
    store.set_replay_state(started.id, ReplayState.CANCELLED, NOW)
    ended = mended.run(started, rate_per_s=1000)
    assert (ended.state, ended.failed) == ("cancelled", 3)


def test_a_rate_is_kept(store, monkeypatch):
    slept = []
    monkeypatch.setattr("integration.replay.time.sleep", slept.append)
    refuse(store, *"ABCDEF")
    mended = replayer(store, ASCII)
    mended.run(mended.begin("", Stage.DECODE, "admin"), rate_per_s=2)
    assert len(slept) == 3
    assert 2.5 < sum(slept) <= 3.0
