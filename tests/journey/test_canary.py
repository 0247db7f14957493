"""Known identifiers go through everything, right and wrong; no log line may hold one.

The installation logs at DEBUG, and `install` searches its log at the end; here the ways are taken
on which identifiers could get there. `pytest_runtest_logreport` in tests/conftest.py does the same
for what the tests' own process logs.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from integration.hl7v2.ack import read_acknowledgement
from model.simulate import simulate

CANARY = "ZZCANARY"


class TalkativeEhr(BaseHTTPRequestHandler):
    """Refuses everything and quotes the patient in every part of its answer."""

    status = 422

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        issue = {"severity": "error", "code": "invalid", "diagnostics": f"no patient {CANARY}-4711"}
        body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
        self.send_response(self.status, f"unknown {CANARY}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Patient", CANARY)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Keep the test's output clean."""


@pytest.fixture(params=[422, 500, 302])
def talkative_ehr(request):
    handler = type("Handler", (TalkativeEhr,), {"status": request.param})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/fhir"
    server.shutdown()
    server.server_close()


def spoilt(raw: bytes):
    """Yield the message with a canary in the very field that its refusal is about."""
    text = raw.decode()
    canary = CANARY.encode()
    yield raw.replace(b"MSH|", canary + b"|", 1)
    yield raw.replace(b"UNICODE UTF-8", canary, 1)
    yield raw.replace(b"PID|1||", b"PID|1||||", 1)  # the identifier slips into the name
    yield raw.replace(b"MDC_ECG_ELEC_POTL_V1", canary)
    yield raw.replace(b"MDC_DIM_MILLI_VOLT", canary).replace(b"266418", b"0")
    before, samples = text.split("|NA|", 1)
    field = samples.split("|")[2]
    yield f"{before}|NA|{samples.replace(field, f'{CANARY}^{field}', 1)}".encode()
    yield raw.replace(CANARY.encode(), b"\xff\xfe" + canary, 1)
    yield canary


def test_refusals_are_logged_by_reason_alone(install, message):
    installation = install()
    installation.serve("--no-worker")
    good = message(simulate("normal", seed=1), "C0")
    for n, raw in enumerate(spoilt(good)):
        assert raw != good, n
        assert CANARY.encode() in raw
        answer = installation.send(raw)
        assert read_acknowledgement(answer).code in {"AR", "AE"}, n
    installation.send_bytes(b"PID|1||ZZCANARY outside of any frame\r")
    assert "reason=charset-undecodable" in installation.log.read_text()


def test_a_talkative_ehr_is_not_quoted(install, message, talkative_ehr):
    installation = install(
        DESTINATIONS__EHR__KIND="fhir",
        DESTINATIONS__EHR__BASE_URL=talkative_ehr,
        DELIVERY__MAX_ATTEMPTS="2",
    )
    installation.serve()
    installation.send(message(simulate("normal", seed=1), "C1"))
    (exam,) = installation.settled(1)
    assert exam["state"] == "undeliverable"
    assert "undeliverable" in installation.log.read_text()
