"""A listener on a bad day, over a real socket: it answers everything, keeps it, and lives on."""

import socket

from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.framing import Frame, Framer, frame
from model.simulate import simulate
from tests.patience import PATIENCE_S


def answers(data: bytes):
    """Return the acknowledgements in a stream."""
    framer = Framer(2**20)
    blocks = [*framer.feed(data), *framer.close()]
    return [read_acknowledgement(b.payload) for b in blocks if isinstance(b, Frame)]


def test_the_listener_lives_through_all_of_it(install, message):
    installation = install()
    installation.serve("--no-worker")
    good = message(simulate("normal", seed=1), "B1")
    lead = b"131331^MDC_ECG_ELEC_POTL_V1"
    refused = {
        "msh-missing": frame(b"PID|1||4711\r"),
        "framing-invalid": b"no frame at all",
        "lead-unknown": frame(good.replace(lead, b"131999^MDC_ECG_ELEC_POTL_V99")),
        "lead-mismatch": frame(good.replace(lead, b"131331^MDC_ECG_ELEC_POTL_III")),
        "message-too-large": frame(good + b"NTE|1||" + b"x" * 40_000_000),
    }
    for reason, raw in refused.items():
        (told,) = answers(installation.send_bytes(raw))
        assert told.code == "AR", reason
        assert reason in " ".join(told.texts)
    assert installation.status()["refusals"] == dict.fromkeys(refused, 1)

    # On one connection: junk, a good message in pieces, another one at once, half a message.
    wire = b"junk" + frame(good) + frame(good.replace(b"|B1|", b"|B2|", 1)) + b"\x0bMSH|"
    with socket.create_connection(("127.0.0.1", installation.mllp_port), PATIENCE_S) as connection:
        for at in range(0, len(wire), 9_973):
            connection.sendall(wire[at : at + 9_973])
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while piece := connection.recv(65_536):
            data += piece
    assert [told.code for told in answers(data)] == ["AR", "AA", "AA", "AR"]
    assert installation.status()["messages"]["accepted"] == 2


def test_a_silent_sender_does_not_keep_others_waiting(install, message):
    installation = install(MLLP__MAX_CONNECTIONS="3", MLLP__IDLE_TIMEOUT_S="1")
    installation.serve("--no-worker")
    address = ("127.0.0.1", installation.mllp_port)
    silent = [socket.create_connection(address, PATIENCE_S) for _ in range(3)]
    (told,) = answers(installation.send_bytes(frame(message(simulate("normal", seed=1), "Q1"))))
    assert told.code == "AA"
    for connection in silent:
        connection.close()
