"""Delivery against a server that answers what no other can be made to; see `test_client_live`."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
from pydantic import SecretStr

from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.before import Standing, matching
from integration.fhir.client import FhirClient, retry_after_s
from integration.fhir.report import build_report
from integration.fhir.revision import following


@pytest.fixture
def bundle(exam, findings_of, issued):
    return build_report(exam, findings_of("flagged"), issued=issued)


class Scripted:
    """A real HTTP server that gives one answer and remembers what it was asked."""

    def __init__(self):
        self.status, self.headers, self.body, self.drips = 200, {}, b"", False
        self.asked = []
        self.over = threading.Event()
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                size = int(self.headers["Content-Length"])
                script.asked.append((self.path, dict(self.headers), self.rfile.read(size)))
                if script.status is None:  # hang up without a word
                    self.close_connection = True
                    return
                if script.status == "silent":
                    script.over.wait()
                    return
                self.send_response(script.status)
                for name, value in script.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in script.headers:
                    self.send_header("Content-Length", str(len(script.body)))
                self.end_headers()
                self.wfile.write(script.body)
                if script.drips:
                    self.drip()

            def drip(self):
                with suppress(OSError):  # the client has gone
                    while not script.over.wait(0.02):
                        self.wfile.write(b" ")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/r4"

    def answer(self, status, body=b"", **headers):
        self.status = status
        self.body = body if isinstance(body, bytes) else orjson.dumps(body)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
def scripted():
    script = Scripted()
    thread = threading.Thread(target=script.server.serve_forever, args=(0.01,))
    thread.start()
    yield script
    script.over.set()
    script.server.shutdown()
    thread.join()
    script.server.server_close()


@pytest.fixture
def post(scripted, bundle):
    client = FhirClient(scripted.url, timeout_s=5, max_response_bytes=10_000)
    yield lambda: client.post_transaction(bundle)
    client.close()


def response(*statuses, location=None):
    entries = [{"response": {"status": status}} for status in statuses]
    if location:
        entries[0]["response"]["location"] = location
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


CREATED = ["201 Created"] * 10


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((status, "destination-busy") for status in (408, 409, 425, 500, 501)),
        *((status, "destination-unavailable") for status in (429, 502, 503, 504)),
    ],
)
def test_try_later(scripted, post, status, reason):
    scripted.answer(status, b"<html>busy</html>", Retry_After="120")
    with pytest.raises(TryLater) as caught:
        post()
    assert caught.value.reason == reason
    assert caught.value.detail == f"status {status}"
    assert caught.value.retry_after_s == 120.0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        *((status, "destination-refused") for status in (400, 412, 413, 422)),
        *((status, "destination-denied") for status in (401, 403)),
        *((s, "destination-misconfigured") for s in (301, 307, 404, 405, 410, 415)),
    ],
)
def test_refused(scripted, post, status, reason):
    scripted.answer(status, Location="http://127.0.0.1:9/elsewhere", Retry_After="120")
    with pytest.raises(Refused) as caught:
        post()
    assert (caught.value.reason, caught.value.detail) == (reason, f"status {status}")
    assert len(scripted.asked) == 1


def test_a_long_page_of_an_error_does_not_hide_its_status(scripted, post):
    scripted.answer(422, b" " * 20_000)
    with pytest.raises(Refused, match="status 422"):
        post()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not a transaction-response"),
        (b"<html>Please log in</html>", "not a transaction-response"),
        (b"[1]", "not a transaction-response"),
        (b'{"type": "transaction-response"}', "no entries"),
        ({"resourceType": "Bundle", "type": "batch-response"}, "not a transaction-response"),
        (response(*CREATED[1:]), "9 entries for 10"),
        (response("created", *CREATED[1:]), "an entry without a status"),
        ({"type": "transaction-response", "entry": [1] * 10}, "an entry without a status"),
        ({"type": "transaction-response", "entry": [{}] * 10}, "an entry without a status"),
        (b" " * 10_001, "longer than 10000 bytes"),
    ],
)
def test_success_that_cannot_be_read_is_asked_again(scripted, post, body, detail):
    scripted.answer(200, body)
    with pytest.raises(TryLater) as caught:
        post()
    assert caught.value.reason == "destination-answer-invalid"
    assert caught.value.detail == f"the answer is unreadable: {detail}"


def test_success_that_cannot_be_decompressed_is_asked_again(scripted, post):
    scripted.answer(200, b"not gzip", Content_Encoding="gzip")
    with pytest.raises(TryLater, match="cannot be decompressed"):
        post()


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("409 Conflict", TryLater, "destination-busy"),
        ("503", TryLater, "destination-busy"),
        ("422 Unprocessable Entity", Refused, "destination-refused"),
        ("304", Refused, "destination-refused"),
    ],
)
def test_a_failed_entry_in_a_success_is_a_failure(scripted, post, status, error, reason):
    scripted.answer(200, response(*CREATED[:9], status))
    with pytest.raises(error) as caught:
        post()
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("DiagnosticReport/7/_history/1", "201 DiagnosticReport/7"),
        ("https://ehr.example/r4/DiagnosticReport/a-7.b", "201 DiagnosticReport/a-7.b"),
        ("/DiagnosticReport/7", "201 DiagnosticReport/7"),
        ("https://ehr.example/?name=DiagnosticReport/Jane Roe", "201"),
        (None, "201"),
        (7, "201"),
    ],
)
def test_answer_is_status_and_place(scripted, post, location, told):
    scripted.answer(200, response(*CREATED, location=location))
    assert post() == told


def test_outcome_is_told_by_codes_and_paths_alone(scripted, post):
    issues = [
        {"code": "invalid", "diagnostics": "Jane Roe", "expression": ["Bundle.entry[0].resource"]},
        {"code": "Jane Roe", "expression": ["Patient.where(name='Jane Roe')", "Patient.name"]},
        {"code": "value", "details": {"text": "Jane Roe"}, "expression": "Patient.MRN4711"},
        {"code": "too-many"},
    ]
    scripted.answer(422, {"resourceType": "OperationOutcome", "issue": issues})
    with pytest.raises(Refused) as caught:
        post()
    assert caught.value.detail == (
        "status 422; invalid at Bundle.entry[0].resource, issue at Patient.name, value"
    )


@pytest.mark.parametrize("issues", [None, "x", {}, ["x"], [{"expression": [1]}]])
def test_strange_outcomes_do_no_harm(scripted, post, issues):
    scripted.answer(400, {"issue": issues})
    with pytest.raises(Refused, match=r"^destination-refused: status 400(; issue)?$"):
        post()


def test_request_is_fhir_json_with_token(scripted, bundle):
    scripted.answer(200, response(*CREATED))
    client = FhirClient(scripted.url + "/", token=SecretStr("s3cret"))
    client.post_transaction(bundle)
    client.close()
    ((path, headers, body),) = scripted.asked
    assert path == "/r4"
    assert headers["Authorization"] == "Bearer s3cret"
    assert headers["Content-Type"] == headers["Accept"] == "application/fhir+json"
    assert headers["Prefer"] == "return=minimal"
    assert orjson.loads(body) == bundle


def test_connection_that_ends_without_an_answer(scripted, post):
    scripted.answer(None)
    with pytest.raises(TryLater) as caught:
        post()
    assert caught.value.reason == "destination-unreachable"


def test_answer_shorter_than_promised(scripted, post):
    scripted.answer(200, b"{", Content_Length="2")
    with pytest.raises(TryLater) as caught:
        post()
    assert caught.value.reason == "destination-unreachable"


def test_all_addresses_of_a_name_take_no_longer_than_one(silent_port, bundle, monkeypatch):
    found = socket.getaddrinfo("127.0.0.1", silent_port, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 3)
    client = FhirClient(f"http://many:{silent_port}/r4", timeout_s=0.6)
    start = time.monotonic()
    with pytest.raises(TryLater, match="destination-unreachable"):
        client.post_transaction(bundle)
    assert time.monotonic() - start < 1.2
    client.close()


@pytest.mark.parametrize("drips", [False, True])
def test_server_that_is_too_slow(scripted, bundle, drips):
    scripted.answer(200 if drips else "silent", Content_Length="9999")
    scripted.drips = drips
    client = FhirClient(scripted.url, timeout_s=0.2)
    with pytest.raises(TryLater) as caught:
        client.post_transaction(bundle)
    client.close()
    assert caught.value.reason == "destination-timeout"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    stem = tmp_path_factory.mktemp("tls") / "server"
    command = [sys.executable, "-m", "sekmet.cli", "keys", "tls-cert", "127.0.0.1", "--out", stem]
    subprocess.run(command, check=True, capture_output=True)
    return stem.with_suffix(".crt"), stem.with_suffix(".key")


def test_certificates_are_checked(scripted, bundle, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    plain = scripted.server.socket
    scripted.server.socket = context.wrap_socket(
        plain, server_side=True, do_handshake_on_connect=False
    )
    scripted.answer(200, response(*CREATED))
    url = scripted.url.replace("http:", "https:")
    distrusting = FhirClient(url)
    with pytest.raises(TryLater) as caught:
        distrusting.post_transaction(bundle)
    distrusting.close()
    assert caught.value.detail == "its certificate is not trusted"
    assert scripted.asked == []

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    trusting = FhirClient(url)
    assert trusting.post_transaction(bundle) == "201"
    trusting.close()


def test_server_that_is_down(scripted, bundle):
    scripted.server.server_close()
    client = FhirClient(scripted.url)
    with pytest.raises(TryLater) as caught:
        client.post_transaction(bundle)
    client.close()
    assert (caught.value.reason, caught.value.detail) == ("destination-unreachable", "ConnectError")
    assert caught.value.retry_after_s is None


def test_server_that_a_firewall_hides(bundle, silent_port):
    client = FhirClient(f"http://127.0.0.1:{silent_port}", timeout_s=0.2)
    with pytest.raises(TryLater, match="destination-unreachable: ConnectTimeout"):
        client.post_transaction(bundle)
    client.close()


@pytest.mark.parametrize(
    "url", ["", "ehr.example/fhir", "ftp://ehr.example", "http://", "http://[::"]
)
def test_what_is_no_url_is_a_fault_of_the_settings(url):
    with pytest.raises(ConfigError) as caught:
        FhirClient(url)
    assert caught.value.reason == "fhir-url-invalid"


NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 30, None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize("status", [404, 409, 410, 412])
def test_what_may_have_been_changed_there(scripted, bundle, status):
    scripted.answer(status)
    client = FhirClient(scripted.url, timeout_s=5)
    later = matching(following(bundle, bundle), Standing("DiagnosticReport/1", 'W/"1"'))
    with pytest.raises(Refused, match="destination-conflict"):
        client.post_transaction(later)
    client.close()
