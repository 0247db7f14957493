"""Reading of a source into a real SQLite store; the source is a server with its own words."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from db.sources import Subscribed
from integration.errors import Refused, TryLater
from integration.fhir.source_client import SourceClient
from integration.fhir_intake import FhirIntake
from integration.fhir_source import FhirSource, Reading, Taken
from tests.fhir_observations import PATIENT, component, observation, one_lead
from tests.scripted_server import scripted_server

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUERY = "Observation?code=x"
SAMPLES = list(range(100))
HOLDER = UUID(int=1)


class Ehr:
    """Searches and reads; `now` is its clock in seconds after noon."""

    def __init__(self):
        self.resources, self.now, self.asked, self.status = {}, 3600, [], 200

    def put(self, resource, seconds, version="1"):
        meta = {"versionId": version, "lastUpdated": _at(seconds).isoformat()}
        self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource | {"meta": meta}

    def answer(self, path, _):
        url = urlsplit(path)
        name, query = url.path.removeprefix("/"), parse_qs(url.query)
        self.asked.append(name)
        headers = {"Date": f"{_at(self.now):%a, %d %b %Y %H:%M:%S} GMT"}
        if self.status != 200:
            return self.status, headers, b""
        if name == "metadata":
            return 200, headers, {"resourceType": "CapabilityStatement"}
        if "/" in name:
            found = self.resources.get(name)
            return (200, headers, found) if found else (404, headers, b"")
        return 200, headers, self._page(url.path, query)

    def _page(self, path, query):
        after = datetime.fromisoformat(query["_lastUpdated"][0].removeprefix("gt"))
        found = [r for r in self.resources.values() if r["resourceType"] == "Observation"]
        found = [r for r in found if datetime.fromisoformat(r["meta"]["lastUpdated"]) > after]
        found.sort(key=lambda r: r["meta"]["lastUpdated"])
        offset, count = int(query.get("_offset", "0")[0]), 10
        link = f"{path}?_lastUpdated=gt{after:%Y-%m-%dT%H:%M:%SZ}&_offset={offset + count}"
        links = [{"relation": "next", "url": link}] if len(found) > offset + count else []
        entries = [{"resource": r} for r in found[offset : offset + count]]
        made = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
        return made | {"link": links}


def _at(seconds):
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def ehr():
    return Ehr()


@pytest.fixture
def source(store, ehr):
    with scripted_server(ehr.answer) as url:
        client = SourceClient(url)
        reading = Reading("ehr", (QUERY,), overlap_s=60, settle_s=5, since=NOON)
        yield FhirSource(reading, client, FhirIntake(store, None), store)
        client.close()


def always():
    return True


def ecg(id_, n=0, **changes):
    return observation([component("I", [n, *SAMPLES])], id=id_, **changes)


def ecgs(store):
    return sum(store.status(datetime.now(UTC)).exams.values())


def test_what_is_new_is_taken_once(source, store, ehr):
    ehr.put(ecg("1"), 10)
    ehr.put(ecg("2", 1), 20)
    assert source.poll(always) == Taken(2, unsettled=False)
    assert store.source_cursor("ehr", QUERY) == _at(20)
    assert source.poll(always) == Taken(0, unsettled=False)
    ehr.put(ecg("3", 2), 15)  # became visible late
    ehr.put(ecg("1", 3), 30, version="2")
    assert source.poll(always) == Taken(2, unsettled=False)
    assert ecgs(store) == 4


def test_where_it_begins_without_a_since(store, ehr):
    ehr.put(ecg("1"), 10)
    with scripted_server(ehr.answer) as url:
        reading = Reading("ehr", (QUERY,), overlap_s=60, settle_s=5)
        source = FhirSource(reading, SourceClient(url), FhirIntake(store, None), store)
        assert source.poll(always) == Taken(0, unsettled=False)
        assert store.source_cursor("ehr", QUERY) == _at(3600)
        ehr.put(ecg("2"), 3700)
        ehr.now = 3800
        assert source.poll(always) == Taken(1, unsettled=False)


def test_twelve_observations_are_one_ecg_however_they_come(source, store, ehr):
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    ehr.now = 24
    for n, lead in enumerate(leads):
        ehr.put(one_lead(lead, [n, *SAMPLES], id=lead), 14 + n)  # the last two are yet to come
    assert source.poll(always) == Taken(0, unsettled=True)
    ehr.now = 60
    assert source.poll(always) == Taken(12, unsettled=False)
    assert ecgs(store) == 1


def test_what_it_refers_to_is_read(source, store, ehr):
    patient = {"resourceType": "Patient", "id": "p", "identifier": [PATIENT]}
    ehr.put(patient, 0)
    ehr.put(ecg("1", subject={"reference": "Patient/p"}), 10)
    ehr.put(ecg("2", 1, subject={"reference": "Patient/p"}), 11)
    ehr.put(ecg("3", 2, subject={"reference": "Patient/none"}), 12)
    assert source.poll(always).resources == 3
    assert ehr.asked.count("Patient/p") == 1
    assert ecgs(store) == 2
    assert store.status(NOON).refusals == {"patient-missing": 1}
    assert source.poll(always).resources == 0


def test_a_server_that_is_away_or_an_end_in_the_middle_costs_nothing(source, store, ehr):
    for n in range(60):
        ehr.put(ecg(str(n), n), n * 10)
    left = iter([True] * 5 + [False])
    with pytest.raises(TryLater, match="source-interrupted"):
        source.poll(lambda: next(left))
    assert 0 < ecgs(store) < 60
    assert _at(0) < store.source_cursor("ehr", QUERY) < _at(590)
    ehr.status = 503
    with pytest.raises(TryLater, match="source-unavailable"):
        source.poll(always)
    ehr.status, ehr.asked = 200, []
    source.poll(always)
    assert ecgs(store) == 60
    assert len(ehr.asked) < 6  # it went on where it was


def test_a_resource_that_is_none_stops_nothing(source, store, ehr):
    ehr.put({"resourceType": "Observation", "id": "x", "component": "nonsense"}, 5)
    ehr.put(ecg("1"), 10)
    ehr.put(one_lead("I", SAMPLES, id="2", effectiveDateTime="2026-03-02T00:00:00Z"), 11)
    ehr.put(one_lead("II", SAMPLES, id="3", effectiveDateTime="2026-03-02T00:00:00Z"), 12)
    assert source.poll(always).resources == 4
    assert ecgs(store) == 2
    assert source.poll(always).resources == 0


STATUS = {
    "resourceType": "SubscriptionStatus",
    "subscription": {"reference": "Subscription/s"},
    "topic": "urn:ecgs",
}


def notice(type_, *numbers, sent=None, status="active"):
    """R5's form; the others are tested with `fhir.notification`."""
    told = STATUS | {"type": type_, "status": status}
    told |= {} if sent is None else {"eventsSinceSubscriptionStart": str(sent)}
    told |= {"notificationEvent": [{"eventNumber": str(n)} for n in numbers]} if numbers else {}
    entry = [{"resource": told}]
    return {"resourceType": "Bundle", "type": "subscription-notification", "entry": entry}


@pytest.fixture
def due(store):
    """Whether the source is due, and back to its rest."""
    store.take_source("ehr", HOLDER, NOON, 60)
    rest = datetime(2100, 1, 1, tzinfo=UTC)

    def look():
        hastened = store.source_states()["ehr"].due_at not in {None, rest}
        store.take_source("ehr", HOLDER, rest, 60)
        store.release_source("ehr", HOLDER, rest, rest, None)
        return hastened

    look()
    return look


def missed(store):
    (heard,) = store.subscribed()
    assert isinstance(heard, Subscribed)
    return heard.last_event, heard.missed


def test_word_makes_it_due(source, due):
    assert not due()
    for told in (None, ecg("1"), notice("event-notification", 1, sent=1)):
        source.notified(told)
        assert due()


def test_a_handshake_and_heartbeats_are_no_news(source, store, due):
    source.notified(notice("handshake", sent=0))
    source.notified(notice("heartbeat", sent=0))
    assert not due()
    assert missed(store) == (0, 0)


def test_gaps(source, store, due, caplog):
    source.notified(notice("handshake", sent=0))
    source.notified(notice("event-notification", 1, 2))
    assert missed(store) == (2, 0)
    source.notified(notice("event-notification", 5, sent=5))
    assert missed(store) == (5, 2)
    source.notified(notice("event-notification", 4, sent=5))  # late, or again
    assert missed(store) == (5, 2)
    assert due()
    source.notified(notice("heartbeat", sent=7))
    assert missed(store) == (7, 4)
    assert due()
    told = [r.getMessage() for r in caplog.records if "missing_events" in r.getMessage()]
    assert told == ["source ehr missing_events=2"] * 2
    source.notified(notice("handshake", sent=0))  # made anew
    source.notified(notice("event-notification", 1, sent=1))
    assert missed(store) == (1, 4)


def test_a_subscription_that_failed_is_told(source, caplog):
    source.notified(notice("heartbeat", sent=1, status="error"))
    assert "source ehr subscription is error" in [r.getMessage() for r in caplog.records]


def test_what_is_no_notification_is_refused(source, store):
    with pytest.raises(Refused, match="bundle-unsupported"):
        source.notified({"resourceType": "Bundle", "type": "transaction"})
    assert store.subscribed() == []
