"""One report to one receiver, with every answer that receivers give."""

import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from integration.errors import Refused, TryLater
from integration.fhir.report import build_report
from integration.hl7v2.ack import Fault, acknowledge
from integration.hl7v2.client import MllpClient
from integration.hl7v2.framing import Framer, frame
from integration.hl7v2.header import parse_header
from integration.hl7v2.outbound import OruDestination
from integration.hl7v2.report import Endpoints

ENDS = Endpoints("HISBUNDLE", "LAB", "EHR", "HOSP")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@contextmanager
def receiver(answer):
    """A receiver that answers one connection with `answer(payload)`; None closes without a word."""
    listening = socket.create_server(("127.0.0.1", 0))
    received = []

    def run():
        connection, _ = listening.accept()
        with connection:
            framer = Framer(2**20)
            while not received and (data := connection.recv(65536)):
                received.extend(f.payload for f in framer.feed(data))
            reply = answer(received[0])
            if reply is None:
                return
            connection.sendall(reply)
            connection.recv(1)  # until the sender goes

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    port = listening.getsockname()[1]
    yield OruDestination(lambda: MllpClient("127.0.0.1", port, 0.5), ENDS), received
    thread.join(5)
    listening.close()


@pytest.fixture
def bundle(exam, findings_of, issued):
    return build_report(exam, findings_of("flagged"), issued=issued)


def saying(code, *faults):
    def answer(payload):
        ack = acknowledge(parse_header(payload), "AA", faults=faults, control_id="X", now=NOW)
        return frame(ack.replace(b"MSA|AA", b"MSA|" + code.encode()))

    return answer


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_yes_is_delivered(bundle, code):
    with receiver(saying(code)) as (destination, received):
        answer = destination.send(bundle)
    assert answer == f"{code} {parse_header(received[0]).control_id}"


@pytest.mark.parametrize("code", ["AE", "AR", "CR"])
def test_no_is_the_last_word_with_its_reason_and_without_its_sentence(bundle, code):
    fault = Fault("patient-missing", "no patient 4711 here")
    with (
        receiver(saying(code, fault)) as (destination, _),
        pytest.raises(Refused, match=f"{code} patient-missing") as refused,
    ):
        destination.send(bundle)
    assert refused.value.reason == "destination-refused"
    assert "4711" not in str(refused.value)


def other_message(payload):
    return saying("AA")(payload.replace(parse_header(payload).control_id.encode(), b"OTHER"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (saying("CE"), "destination-busy"),
        (saying("ZZ"), "destination-answer-invalid"),
        (other_message, "destination-answer-invalid"),
        (lambda _: frame(b"not HL7"), "destination-answer-invalid"),
        (lambda _: b"\x0bMSH|", "destination-timeout"),
        (lambda _: None, "destination-unreachable"),
    ],
)
def test_everything_else_is_tried_again(bundle, answer, reason):
    with (
        receiver(answer) as (destination, _),
        pytest.raises(TryLater) as later,
    ):
        destination.send(bundle)
    assert later.value.reason == reason


@pytest.mark.parametrize("port", ["closed_port", "silent_port"])
def test_nobody_listens(bundle, port, request):
    there = request.getfixturevalue(port)
    destination = OruDestination(lambda: MllpClient("127.0.0.1", there, 0.2), ENDS)
    with pytest.raises(TryLater, match="destination-unreachable"):
        destination.send(bundle)
