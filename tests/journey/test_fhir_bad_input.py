"""Bodies that are no good, over a real socket: each is refused, nothing is stored."""

import socket
from datetime import UTC, datetime

import httpx
import orjson
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome

from db.store import Store
from tests.fhir_observations import bundle, component, observation, one_lead
from tests.patience import PATIENCE_S

SAMPLES = list(range(1000))
DATA = "Observation.component[0].valueSampledData"
HUGE = 200_000_000
MIB_THAT_A_REFUSAL_MAY_TAKE = 100


def ecg(data=SAMPLES, **sampled):
    return observation([component("I", data, **sampled), component("II", SAMPLES)])


def without(name):
    return {key: value for key, value in ecg().items() if key != name}


def nested(depth):
    return b'{"resourceType":"Observation","extension":' + b"[" * depth + b"]" * depth + b"}"


def elements(number):
    parts = b",".join([b'{"code":{}}'] * number)
    return b'{"resourceType":"Observation","component":[' + parts + b"]}"


WRONG_KIND = {"resourceType": "Observation", "status": "final", "component": {"code": 5}}
XML = b'<Observation xmlns="http://hl7.org/fhir"><status value="final"/>'
ENTITY = b'<!DOCTYPE a [<!ENTITY x "y">]><Observation xmlns="http://hl7.org/fhir"/>'

# name: path, body, status, reason, expression
BAD = {
    "truncated": ("Observation", orjson.dumps(ecg())[:-50], 400, "json-malformed", None),
    "empty": ("Observation", b"", 400, "json-malformed", None),
    "no-object": ("Observation", b"[]", 400, "json-malformed", None),
    "latin-1": ("Observation", b'{"resourceType":"\xe9"}', 400, "json-malformed", None),
    "deep": ("Observation", nested(10_000), 400, None, None),
    "deeper-than-the-limit": ("Observation", nested(100), 400, "json-too-complex", None),
    "many-elements": ("Observation", elements(150_000), 400, "json-too-complex", None),
    "no-kind": ("Observation", {"id": "1"}, 400, "json-malformed", "Resource"),
    "other-kind": (
        *("Observation", {"resourceType": "Patient"}, 422, "resource-unsupported"),
        "Patient.resourceType",
    ),
    "one-at-the-base": ("", ecg(), 422, "resource-unsupported", "Observation.resourceType"),
    "history": ("", bundle(ecg(), type_="history"), 422, "bundle-unsupported", "Bundle.type"),
    "no-ecg": ("Observation", observation([]), 422, "not-ecg", "Observation"),
    "no-list": ("Observation", WRONG_KIND, 422, "field-malformed", "Observation.component"),
    "words": ("Observation", ecg(data="1 2 three"), 422, "samples-malformed", f"{DATA}.data"),
    "a-number": ("Observation", ecg(data="1 2 0x1F"), 422, "samples-malformed", f"{DATA}.data"),
    "no-period": ("Observation", ecg(period=None), 422, "rate-missing", f"{DATA}.period"),
    "period-of-0": ("Observation", ecg(period=0), 422, "rate-out-of-range", f"{DATA}.period"),
    "unit": (
        *("Observation", ecg(origin={"value": 0, "unit": "furlong"}), 422, "unit-unknown"),
        f"{DATA}.origin",
    ),
    "nobody": ("Observation", without("subject"), 422, "patient-missing", "Observation.subject"),
    "a-lead-twice": (
        "Observation",
        observation([component(lead, [n, *SAMPLES]) for n, lead in enumerate(("I", "II", "I"))]),
        *(422, "lead-duplicate", "Observation.component[2].valueSampledData"),
    ),
    "a-lead-twice-in-two": (
        "",
        bundle(one_lead("I", SAMPLES), one_lead("II", SAMPLES), one_lead("I", [1, *SAMPLES])),
        *(422, "lead-duplicate", "Bundle.entry[2].resource.valueSampledData"),
    ),
    "one-good-one-bad": (
        *("", bundle(ecg(), ecg(period=None)), 422, "rate-missing"),
        "Bundle.entry[1].resource.component[0].valueSampledData.period",
    ),
    "xml-broken-off": ("Observation", XML, 422, "xml-malformed", None),
    "xml-entity": ("Observation", ENTITY, 422, "xml-forbidden", None),
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    from tests.journey.conftest import Installation  # noqa: PLC0415 - one for all of these

    made = Installation(tmp_path_factory.mktemp("site"))
    made.serve("--no-worker")
    yield made
    made.stop()
    made.check_log()


def stored(installation):
    store = Store.open(f"sqlite:///{installation.folder / 'data' / 'hisbundle.db'}")
    try:
        return store.status(datetime.now(UTC))
    finally:
        store.close()


def post(installation, path, content):
    url = f"http://127.0.0.1:{installation.http_port}/fhir/{path}".rstrip("/")
    kind = "xml" if content.startswith(b"<") else "json"
    headers = {"Content-Type": f"application/fhir+{kind}"}
    return httpx.post(url, content=content, headers=headers, timeout=PATIENCE_S)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body(installation, name):
    path, body, status, reason, expression = BAD[name]
    answer = post(installation, path, body if isinstance(body, bytes) else orjson.dumps(body))
    assert answer.status_code == status, answer.text
    outcome = OperationOutcome.model_validate(answer.json())
    (issue,) = outcome.issue
    assert issue.severity == "error"
    assert issue.details.text == reason or reason is None
    assert (issue.expression or [None])[0] == expression
    told = stored(installation)
    assert sum(told.exams.values()) == 0
    assert told.messages["accepted"] == 0


def resident_mib(installation):
    (process,) = installation.processes
    with open(f"/proc/{process.pid}/status") as lines:  # noqa: PTH123 - a file of the kernel
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@pytest.mark.parametrize("declared", [True, False])
def test_200_megabytes_are_refused_early_and_take_no_memory(installation, declared):
    before = resident_mib(installation)
    sent, piece = 0, b" " * 65_536
    with socket.create_connection(("127.0.0.1", installation.http_port), PATIENCE_S) as connection:
        size = f"Content-Length: {HUGE}" if declared else "Transfer-Encoding: chunked"
        head = "POST /fhir/Observation HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/fhir+json\r\n{size}\r\n\r\n"
        connection.sendall(head.encode())
        chunk = piece if declared else b"10000\r\n%b\r\n" % piece
        try:
            while sent < HUGE:
                connection.sendall(chunk)
                sent += len(piece)
        except OSError:  # it does not listen to the end
            pass
        answer = receive(connection)
    assert sent < HUGE
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")  # reset, where it was too quick
    assert resident_mib(installation) - before < MIB_THAT_A_REFUSAL_MAY_TAKE
    assert stored(installation).refusals["message-too-large"] >= 1


def receive(connection):
    try:
        return connection.recv(65_536)
    except ConnectionResetError:
        return b""
