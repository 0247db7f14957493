import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import UUID

import pytest

from db.errors import VersionConflict
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.errors import Refused
from integration.fhir.acknowledging import alerts_of
from integration.fhir.reading import report_resource
from integration.review import Reviews

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
REVIEWER = Reviewer("Practitioner/7")


@pytest.fixture
def exam_id(store, reported):
    """An ECG whose report goes to one destination."""
    return reported(store, destinations=("fhir",))


def review(decision="confirm", text="", reviewer=REVIEWER):
    return Review(Decision(decision), reviewer, datetime.now(UTC), text)


@pytest.fixture
def rung():
    return []


@pytest.fixture
def reviews(store, rung):
    return Reviews(store, rung.extend)


def test_a_decision_makes_a_version_and_rings_its_deliveries(reviews, rung, store, exam_id):
    made = reviews.decide(exam_id, review(), actor="ehr")
    assert (made.version, made.status, made.actor) == (2, ReportStatus.FINAL, "ehr")
    assert made == store.read_report(exam_id)
    (id_,) = rung
    assert store.claim_delivery(id_, datetime.now(UTC), 60).report == made.bundle


def test_the_same_again_changes_nothing(reviews, rung, exam_id):
    made = reviews.decide(exam_id, review(), actor="ehr", expected=1)
    assert reviews.decide(exam_id, review(), actor="ehr", expected=1) == made
    assert len(rung) == 1


def test_who_looked_at_an_older_version_looks_again(reviews, exam_id):
    reviews.decide(exam_id, review(), actor="ehr", expected=1)
    with pytest.raises(VersionConflict, match="version 2 is the newest, not 1"):
        reviews.decide(exam_id, review("override", "AF"), actor="ehr", expected=1)
    assert reviews.decide(exam_id, review("override", "AF"), actor="ehr", expected=2).version == 3


def test_a_second_confirmation_leaves_the_first(reviews, exam_id):
    made = reviews.decide(exam_id, review(), actor="ehr")
    assert reviews.decide(exam_id, review(reviewer=Reviewer("Practitioner/8")), actor="x") == made


@pytest.mark.parametrize("before", ["override", "reject"])
def test_what_was_decided_otherwise_is_not_confirmed(reviews, exam_id, before):
    reviews.decide(exam_id, review(before, "AF"), actor="ehr")
    with pytest.raises(Refused, match="report-decided"):
        reviews.decide(exam_id, review(), actor="ehr")


def test_an_override_of_an_override_is_a_correction(reviews, exam_id):
    statuses = [
        reviews.decide(exam_id, review("override", text), actor="ehr").status
        for text in ("AF", "Flutter", "Sinus rhythm")
    ]
    assert statuses == ["amended", "corrected", "corrected"]


def test_no_report_no_decision(reviews):
    with pytest.raises(Refused, match="report-unknown"):
        reviews.decide(UUID(int=1), review(), actor="ehr")


def test_who_names_no_version_is_asked_again_for_the_newest(reviews, store, exam_id):
    """Another decision comes between looking and deciding, once."""
    look, other = store.versions_of, Reviews(store, None)

    def slow(id_):
        seen = look(id_)
        store.versions_of = look
        other.decide(id_, review("override", "AF"), actor="other")
        return seen

    store.versions_of = slow
    assert reviews.decide(exam_id, review("reject"), actor="ehr").version == 3


def test_a_report_sent_back_is_read_again_when_another_decision_was_first(reviews, store, exam_id):
    """It was confirmed there while somebody overrode it here: that is no confirmation any more."""
    look, other = store.versions_of, Reviews(store, None)
    theirs = report_resource(store.read_report(exam_id)) | {
        "status": "final",
        "resultsInterpreter": [{"identifier": {"value": "7"}}],
    }

    def slow(id_):
        seen = look(id_)
        store.versions_of = look
        other.decide(id_, review("override", f"AF {len(seen)}"), actor="other")
        return seen

    store.versions_of = slow
    with pytest.raises(Refused, match="report-decided"):
        reviews.amend(exam_id, theirs, actor="ehr")
    store.versions_of = slow
    assert reviews.amend(exam_id, theirs | {"status": "entered-in-error"}, actor="ehr").version == 4


def test_two_who_acknowledge_at_once_make_one_version(store, reported):
    exam_id = reported(store, "rhythm", ("AF",))
    done = alerts_of(store.read_report(exam_id))[0] | {"status": "completed"}
    start = threading.Barrier(4)

    def acknowledge(n):
        start.wait()
        return Reviews(store, None).acknowledge(exam_id, done, actor=f"ehr-{n}").version

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(acknowledge, range(4))) == {2}
    assert len(store.versions_of(exam_id)) == 2
