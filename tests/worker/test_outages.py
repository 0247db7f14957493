"""Deliveries to a FHIR server that is not ours through a network that fails: one report each.

The server is sekmet-fhir, open and with SMART Backend Services.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from integration.fhir.client import FhirClient
from integration.fhir.sending import FhirSender
from integration.fhir.settings import FhirDestinationSettings
from integration.fhir.smart import SmartAuth
from integration.security.signing_keys import jwks, make_key
from tests.fault_proxy import fault_proxy
from tests.fhir_server import running_fhir_server
from tests.patience import PATIENCE_S, wait_for
from worker.pipeline import Retry, Rules, deliver, score_exam

QUICK = Retry(max_attempts=3, backoff_s=0.02, lease_s=60)


class Ehr:
    """The server, the proxy before it, and what we are told of the destination."""

    def __init__(self, proxy, behind, keys, smart):
        self.proxy, self.behind, self.keys = proxy, behind, keys
        self.settings = FhirDestinationSettings(kind="fhir", base_url=proxy.url, smart=smart)
        self.auth = SmartAuth(behind, smart, keys) if smart else None

    def reports(self, exam_id):
        """Return how many reports on an exam it has."""
        query = {"identifier": f"urn:hisbundle:id|{exam_id}"}
        found = httpx.get(
            f"{self.behind}/DiagnosticReport", params=query, auth=self.auth, timeout=PATIENCE_S
        )
        return found.raise_for_status().json()["total"]


@pytest.fixture(scope="module", params=["open", "smart"])
def server(request, tmp_path_factory):
    """Base URL, folder of our keys, and our SMART settings or None."""
    folder, keys = tmp_path_factory.mktemp("ehr"), tmp_path_factory.mktemp("keys")
    given, smart = {}, None
    if request.param == "smart":
        make_key(keys, "ES384", datetime.now(UTC))
        client = {"client_id": "hisbundle", "jwks": jwks(keys)}
        given = {"server_auth": {"types": ["smart"], "smart_clients": [client]}}
        smart = {"client_id": "hisbundle"}
    with running_fhir_server(folder, **given) as url:
        if smart:
            smart["token_url"] = url.replace("/fhir", "/auth/token")
        yield url, keys, smart


@pytest.fixture
def ehr(server):
    url, keys, smart = server
    with fault_proxy(url) as proxy:
        settings = FhirDestinationSettings(kind="fhir", base_url=proxy.url, smart=smart)
        ehr = Ehr(proxy, url, keys, settings.smart)
        yield ehr
        if ehr.auth:
            ehr.auth.close()


@pytest.fixture
def worker(store, ehr):
    """A function that makes a worker: what sends reports, as in a process of its own."""
    opened = []

    def make():
        smart = ehr.settings.smart
        auth = SmartAuth(ehr.proxy.url, smart, ehr.keys) if smart else None
        client = FhirClient(ehr.proxy.url, auth=auth)
        opened.extend(each for each in (auth, client) if each)
        return {"ehr": FhirSender(client, ehr.settings, store.exclusively).send}

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def scored(store, scorer, received):
    """A function that makes a delivery; returns it and its exam."""

    def score(control_id):
        exam_id = received(control_id, patient=control_id)
        (id_,) = score_exam(store, scorer, exam_id, Rules(destinations=("ehr",), max_attempts=5))
        return exam_id, id_

    return score


def drained(store, destinations):
    """Do what sweep and workers do until nothing is pending; return how long it took."""
    began = time.monotonic()

    def nothing_pending():
        now = datetime.now(UTC)
        for id_ in store.claim_due_deliveries(now, now, 100):
            deliver(store, destinations, id_, QUICK)
        return not store.status(now).deliveries["pending"]

    wait_for(nothing_pending, "the last delivery")
    return time.monotonic() - began


def delivered(store):
    return store.status(datetime.now(UTC)).deliveries["delivered"]


def test_429_is_given_the_time_it_asks_for(store, ehr, worker, scored):
    exam_id, _ = scored("R1")
    ehr.proxy.faults = [(429, 2)]
    assert drained(store, worker()) >= 2
    assert ehr.proxy.posts == 2
    assert (delivered(store), ehr.reports(exam_id)) == (1, 1)


def test_503_for_a_while_costs_no_try_and_no_report(store, ehr, worker, scored):
    exams = [scored(f"S{n}")[0] for n in range(5)]
    ehr.proxy.faults = [503] * 5
    drained(store, worker())
    assert delivered(store) == 5
    assert [ehr.reports(exam_id) for exam_id in exams] == [1] * 5
    ends = [store.deliveries_of(exam_id)[0] for exam_id in exams]
    assert {end.attempts for end in ends} == {1}
    assert ehr.proxy.posts == 10


def test_an_answer_that_is_lost_after_the_commit(store, ehr, worker, scored):
    exam_id, _ = scored("D1")
    ehr.proxy.faults = ["drop"]
    drained(store, worker())
    assert ehr.proxy.posts == 2
    (end,) = store.deliveries_of(exam_id)
    assert end.answer.startswith("200 DiagnosticReport/")
    assert ehr.reports(exam_id) == 1


def test_two_workers_send_the_same_report_at_the_same_time(store, ehr, worker, scored):
    exam_id, id_ = scored("T1")
    meet = threading.Barrier(2)
    ehr.proxy.faults = [meet, meet]
    # A lease that is over before it began: the second takes the first one for dead.
    hasty = Retry(max_attempts=3, backoff_s=0.02, lease_s=-60)
    with ThreadPoolExecutor(2) as pool:
        for work in [pool.submit(deliver, store, worker(), id_, hasty) for _ in range(2)]:
            work.result()
    assert ehr.proxy.posts == 2
    assert (delivered(store), ehr.reports(exam_id)) == (1, 1)
