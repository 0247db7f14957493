import pytest
from prometheus_client import generate_latest

from db.measures import Ended, Judged, Reviewed
from db.records import NewAssessment
from integration.metrics.events import MAX_SENDERS, OTHER, Events, Places
from model.findings import Findings, ModelIdentity, Quality
from tests.integration.metrics.conftest import NOW
from tests.integration.metrics.pages import read


@pytest.fixture
def assess(store):
    """A function that has a worker's results stored and sealed."""

    def assess(receipt, score, *destinations):
        found = Findings(
            Quality("good"), ModelIdentity("resting", "1", "ab" * 32), anomaly_score=score
        )
        new = NewAssessment(found, NOW, {"resourceType": "Bundle"}, destinations)
        made = store.save_assessment(receipt.exam_ids[0], new)
        store.seal_audit()
        return made

    return assess


def told(events):
    return read(generate_latest(events))


def test_what_workers_do_is_counted_from_the_first_look_on(store, accept, assess):
    assess(accept(store, "0"), 0.5)
    events = Events(store)
    events.follow()
    (delivery,) = assess(accept(store, "1"), 0.75, "fhir")
    store.record_delivered(delivery, "201")
    store.seal_audit()
    events.follow()
    events.follow()
    found = told(events)
    assert found["hisbundle_assessments_total", "live", "", "good"] == 1
    assert found["hisbundle_deliveries_total", "fhir", "delivered"] == 1
    assert found["hisbundle_quality_total", "CART", "ED", "good"] == 1
    assert found["hisbundle_anomaly_score_bucket", "CART", "0.7", "ED"] == 0
    assert found["hisbundle_anomaly_score_bucket", "CART", "0.8", "ED"] == 1
    for stage in ("waiting", "scoring", "delivering", "whole"):
        assert found["hisbundle_stage_seconds_count", stage] == 1


def test_stages_begin_at_nought(store):
    assert told(Events(store))["hisbundle_stage_seconds_count", "whole"] == 0


def test_an_archives_ecgs_are_counted_and_not_timed(store, monkeypatch):
    archive = Judged("A^B", False, "unscorable", "too-short", None, 5.0, 5.0, NOW, None)
    lost = Ended("fhir", "undeliverable", 5.0, 5.0, NOW, None)
    unknown = Ended("fhir", "delivered", None, None, NOW, None)
    pages = iter([(3, (archive, lost, unknown))])
    monkeypatch.setattr(store, "happened", lambda *_: next(pages))
    events = Events(store)
    events.follow()
    found = told(events)
    assert found["hisbundle_assessments_total", "backlog", "too-short", "unscorable"] == 1
    assert found["hisbundle_deliveries_total", "fhir", "undeliverable"] == 1
    assert found["hisbundle_stage_seconds_count", "whole"] == 0
    assert not any(name[0].startswith("hisbundle_quality") for name in found)


def test_what_clinicians_decide_is_counted(store, monkeypatch):
    reviews = (Reviewed("CART^ED", "confirm"), *[Reviewed("CART^ED", "override")] * 2)
    monkeypatch.setattr(store, "happened", lambda *_: (3, reviews))
    events = Events(store)
    events.follow()
    found = told(events)
    assert found["hisbundle_reviews_total", "confirm", "CART", "ED"] == 1
    assert found["hisbundle_reviews_total", "override", "CART", "ED"] == 2


def test_one_look_reads_a_limited_part(store, monkeypatch):
    asked = []

    def endless(after, limit):
        asked.append(after)
        return after + limit, ()

    monkeypatch.setattr(store, "happened", endless)
    Events(store).follow()
    assert asked == list(range(0, 20_000, 1_000))


def test_of_many_senders_the_further_ones_are_one():
    places = Places()
    assert places.of("CART^ED") == ("ED", "CART")
    assert places.of("bearer") == ("", "bearer")
    for n in range(MAX_SENDERS - 2):
        places.of(f"CART{n}^ED")
    assert places.of("ONE^MORE") == (OTHER, OTHER)
    assert places.of("CART^ED") == ("ED", "CART")
