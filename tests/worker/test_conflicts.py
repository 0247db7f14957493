"""Later versions where somebody else may have written: real store, a FHIR server not ours."""

from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest

from db.reviews import Decision, Review, Reviewer
from integration.destinations import history_of
from integration.fhir.client import FhirClient
from integration.fhir.sending import FhirSender
from integration.fhir.settings import FhirDestinationSettings
from integration.review import Reviews
from tests.fault_proxy import fault_proxy
from tests.patience import PATIENCE_S
from worker.pipeline import Retry, Rules, deliver, score_exam

QUICK = Retry(max_attempts=5, backoff_s=0.02, lease_s=60)
BY = {"resultsInterpreter": [{"identifier": {"value": "7"}}]}


@pytest.fixture
def proxy(fhir_server):
    with fault_proxy(fhir_server) as proxy:
        yield proxy


@pytest.fixture
def destinations(store, proxy):
    settings = FhirDestinationSettings(kind="fhir", base_url=proxy.url)
    client = FhirClient(proxy.url)
    sender = FhirSender(client, settings, store.exclusively, history_of(store, "ehr"))
    yield {"ehr": sender.send}
    client.close()


class There:
    """The report at the server."""

    def __init__(self, server, exam_id):
        self.server, self.exam_id = server, exam_id

    def read(self):
        token = f"urn:hisbundle:id|{self.exam_id}"
        found = httpx.get(
            f"{self.server}/DiagnosticReport", params={"identifier": token}, timeout=PATIENCE_S
        ).json()
        (entry,) = found["entry"]
        return entry["resource"]

    @property
    def id(self):
        return self.read()["id"]

    def write(self, **changes):
        report = self.read() | changes
        url = f"{self.server}/DiagnosticReport/{report['id']}"
        httpx.put(url, json=report, timeout=PATIENCE_S).raise_for_status()
        return report


@pytest.fixture
def there(*, store, scorer, received, destinations, fhir_server, request):
    """A report that was delivered."""
    exam_id = received(request.node.name, patient=request.node.name)
    (id_,) = score_exam(store, scorer, exam_id, Rules(destinations=("ehr",), max_attempts=5))
    deliver(store, destinations, id_, QUICK)
    return There(fhir_server, exam_id)


def send(store, destinations):
    while store.status(datetime.now(UTC)).deliveries["pending"]:
        now = datetime.now(UTC)
        for id_ in store.claim_due_deliveries(now, now, 100):
            deliver(store, destinations, id_, QUICK)


def confirm(store, exam_id):
    review = Review(Decision.CONFIRM, Reviewer(None, None, "9", None), datetime.now(UTC))
    return Reviews(store, None).decide(exam_id, review, actor="test")


def ends(store, exam_id):
    return [(end.version, end.state.value) for end in store.deliveries_of(exam_id)]


def test_a_version_is_written_over_the_one_before(store, destinations, there):
    confirm(store, there.exam_id)
    send(store, destinations)
    report = there.read()
    assert (report["status"], report["meta"]["versionId"]) == ("final", "2")
    answers = [end.answer for end in store.deliveries_of(there.exam_id)]
    place = f"DiagnosticReport/{report['id']}"
    assert answers == [f'201 {place} W/"1"', f'200 {place} W/"2"']


def test_a_version_whose_answer_was_lost_is_our_own(store, destinations, there, proxy):
    confirm(store, there.exam_id)
    proxy.faults = ["drop"]
    send(store, destinations)
    assert ends(store, there.exam_id) == [(1, "delivered"), (2, "delivered")]
    report = there.read()
    assert (report["status"], report["meta"]["versionId"]) == ("final", "3")


def test_what_somebody_wrote_there_is_not_written_over(store, destinations, there):
    theirs = there.write(status="amended", conclusion="Sinus rhythm", **BY)
    confirm(store, there.exam_id)
    send(store, destinations)
    (_, end) = store.deliveries_of(there.exam_id)
    assert (end.state, end.attempts) == ("undeliverable", 1)
    assert end.answer.startswith("destination-conflict: ")
    assert there.read()["conclusion"] == "Sinus rhythm"
    # Once they have told us, our next version says so too, and is written over theirs.
    Reviews(store, None).amend(there.exam_id, theirs, actor="ehr")
    send(store, destinations)
    assert ends(store, there.exam_id)[2] == (3, "delivered")
    report = there.read()
    assert report["status"] == "corrected"
    assert ": Sinus rhythm. The AI had said: " in report["conclusion"]


def test_what_changes_nothing_of_the_report_is_written_over(store, destinations, there):
    there.write(meta={"tag": [{"system": "urn:x", "code": "seen"}]})
    confirm(store, there.exam_id)
    send(store, destinations)
    assert there.read()["status"] == "final"


def test_what_was_deleted_there_is_made_anew(store, destinations, there):
    httpx.delete(
        f"{there.server}/DiagnosticReport/{there.id}", timeout=PATIENCE_S
    ).raise_for_status()
    confirm(store, there.exam_id)
    send(store, destinations)
    assert there.read()["status"] == "final"


@contextmanager
def changed_meanwhile(there, sender):
    """Somebody writes each time after we have looked."""
    read = sender._client.read

    def slow(reference):
        found = read(reference)
        there.write(meta={"tag": [{"system": "urn:x", "code": "again"}]})
        return found

    sender._client.read = slow
    yield
    sender._client.read = read


def test_what_is_changed_all_the_time_is_tried_again(store, destinations, there):
    there.write(meta={"tag": [{"system": "urn:x", "code": "seen"}]})
    confirm(store, there.exam_id)
    with changed_meanwhile(there, destinations["ehr"].__self__):
        now = datetime.now(UTC)
        for id_ in store.claim_due_deliveries(now, now, 100):
            deliver(store, destinations, id_, QUICK)
    (_, end) = store.deliveries_of(there.exam_id)
    assert (end.state, end.answer.partition(":")[0]) == ("pending", "destination-busy")
    send(store, destinations)
    assert there.read()["status"] == "final"
