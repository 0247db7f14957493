import pytest

from db.errors import StoreUnavailable
from integration.metrics import Metrics
from tests.integration.metrics.pages import read


def test_messages_are_counted_by_what_became_of_them_and_no_patient_is_told(store, accept):
    metrics = Metrics(store)
    inbox = metrics.counted(store)
    accept(inbox, "1")
    accept(inbox, "1")
    accept(inbox, "2", refused="lead-unknown")
    page = metrics.page()
    assert b"ZZCANARY" not in page
    found = read(page)
    assert found["hisbundle_messages_total", "accepted", "mllp", ""] == 1
    assert found["hisbundle_messages_total", "duplicate", "mllp", ""] == 1
    assert found["hisbundle_messages_total", "refused", "mllp", "lead-unknown"] == 1
    assert found["hisbundle_commit_seconds_count", "mllp"] == 3


def test_a_message_that_is_put_off_is_counted_too(store, accept, monkeypatch):
    metrics = Metrics(store)

    def full(*_, **__):
        raise StoreUnavailable("store-full", "no room")

    monkeypatch.setattr(store, "accept_all", full)
    with pytest.raises(StoreUnavailable):
        accept(metrics.counted(store), "1")
    found = read(metrics.page())
    assert found["hisbundle_messages_total", "put-off", "mllp", "store-full"] == 1
    assert ("hisbundle_commit_seconds_count", "mllp") not in found


def test_answers_and_requests_are_timed(store):
    metrics = Metrics(store)
    assert metrics.timed("mllp", lambda n: n + 1)(1) == 2
    with pytest.raises(ZeroDivisionError):
        metrics.timed("mllp", lambda: 1 / 0)()
    metrics.requested("GET", "/fhir/Binary/{id}", 200, 0.03)
    found = read(metrics.page())
    assert found["hisbundle_answer_seconds_count", "mllp"] == 2
    request = ("GET", "/fhir/Binary/{id}", "200")
    assert found["hisbundle_http_seconds_bucket", "0.025", *request] == 0
    assert found["hisbundle_http_seconds_bucket", "0.05", *request] == 1


def test_the_process_tells_what_it_is(store):
    found = read(Metrics(store).page())
    (build,) = (value for name, value in found.items() if name[0] == "hisbundle_build_info")
    assert build == 1
    assert found["process_resident_memory_bytes",] > 1e6
