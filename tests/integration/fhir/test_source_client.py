"""Reading from a FHIR server, over a real socket, whatever it answers."""

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.source_client import SourceClient
from tests.scripted_server import scripted_server

DATE = {"Date": "Sun, 01 Mar 2026 12:00:00 GMT"}


def searchset(*ids, following=None, **changes):
    entries = [{"resource": {"resourceType": "Observation", "id": id_}} for id_ in ids]
    links = [{"relation": "next", "url": following}] if following else []
    made = {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}
    return made | changes


@contextmanager
def client(answer, **options):
    with scripted_server(answer) as url:
        made = SourceClient(f"{url}/fhir/", **options)
        yield made
        made.close()


def test_pages_by_their_links():
    asked = []

    def answer(path, headers):
        asked.append((path, headers["Authorization"], headers["Accept"]))
        following = "?page=2" if "page" not in path else None
        return 200, DATE, searchset(str(len(asked)), following=following)

    with client(answer, token=SecretStr("geheim")) as source:
        pages = list(source.search("Observation", [("code", "a|b"), ("_count", "2")]))
    assert [page.matches[0]["id"] for page in pages] == ["1", "2"]
    assert pages[0].told_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert asked == [
        ("/fhir/Observation?code=a%7Cb&_count=2", "Bearer geheim", "application/fhir+json"),
        ("/fhir/?page=2", "Bearer geheim", "application/fhir+json"),
    ]


def test_what_came_along_is_told_apart():
    entries = [
        {"resource": {"resourceType": "Observation", "id": "1"}, "search": {"mode": "match"}},
        {"resource": {"resourceType": "Patient", "id": "2"}, "search": {"mode": "include"}},
        {"resource": {"resourceType": "OperationOutcome"}, "search": {"mode": "outcome"}},
        {"resource": {"resourceType": "Observation", "id": "3"}, "search": {"score": 1}},
    ]
    with client(lambda *_: (200, {}, searchset(entry=entries))) as source:
        (page,) = source.search("Observation", [])
    assert [one["id"] for one in page.matches] == ["1", "3"]
    assert [one["id"] for one in page.included] == ["2"]
    assert page.told_at is None


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "wait_s"),
    [
        (503, {}, b"", TryLater, None),
        (429, {"Retry-After": "7"}, b"", TryLater, 7.0),
        (401, {}, b"", Refused, None),
        (404, {}, b"", Refused, None),
        (302, {"Location": "http://other.example.org/"}, b"", Refused, None),
        (200, {}, b"{", Refused, None),
        (200, {}, {"resourceType": "Bundle", "type": "batch-response"}, Refused, None),
        (200, {}, {"resourceType": "Observation"}, Refused, None),
        (200, {"Content-Encoding": "gzip"}, b"nonsense", TryLater, None),
        (200, {}, searchset(following="http://other.example.org/fhir?x"), Refused, None),
        (200, {}, b"[" * 2000, Refused, None),
    ],
)
def test_what_ends_a_search(status, headers, body, error, wait_s):
    with (
        client(lambda *_: (status, headers, body), max_bytes=1000) as source,
        pytest.raises(error) as caught,
    ):
        list(source.search("Observation", []))
    assert getattr(caught.value, "retry_after_s", None) == wait_s


def test_links_in_a_circle():
    def answer(path, _):
        return 200, {}, searchset(following="Observation?page=1")

    with client(answer) as source, pytest.raises(Refused, match="circles"):
        list(source.search("Observation", []))


def test_a_server_that_is_away():
    source = SourceClient("http://127.0.0.1:9/fhir")
    with pytest.raises(TryLater, match="source-unavailable"):
        source.clock()


@pytest.mark.parametrize("url", ["ftp://a.example.org", "http://", "a.example.org"])
def test_no_url(url):
    with pytest.raises(ConfigError, match="source-url-invalid"):
        SourceClient(url)


def test_single_resources():
    patient = {"resourceType": "Patient", "id": "1"}
    answers = {
        "/fhir/Patient/1": (200, {}, patient),
        "/fhir/Patient/2": (410, {}, b""),
        "/fhir/Patient/3": (200, {}, b"no JSON"),
        "/fhir/Patient/4": (401, {}, b""),
        "/fhir/Patient/5": (503, {}, b""),
    }
    with client(lambda path, _: answers[path]) as source:
        assert source.read("Patient/1") == patient
        assert source.read(f"{source.base_url}/Patient/1/_history/2") == patient
        assert source.read("Patient/2") is None
        assert source.read("Patient/3") is None
        for elsewhere in (
            "http://other.example.org/fhir/Patient/1",
            "#1",
            "urn:uuid:1",
            "Patient/../x",
        ):
            assert source.read(elsewhere) is None
        with pytest.raises(Refused, match="401"):
            source.read("Patient/4")
        with pytest.raises(TryLater):
            source.read("Patient/5")


def test_its_clock():
    statement = {"resourceType": "CapabilityStatement"}
    with client(lambda *_: (200, DATE, statement)) as source:
        assert source.clock() == datetime(2026, 3, 1, 12, tzinfo=UTC)
