from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from uuid import UUID

import pytest

from db.audit import AuditKind
from db.errors import NotFound, VersionConflict
from db.records import DeliveryState, ExamState
from db.reviews import Decision, ReportStatus, Review, Reviewer
from db.versions import NewVersion, VersionSummary

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)  # after `assessment` assesses
MINUTE = timedelta(minutes=1)
REVIEW = Review(Decision.CONFIRM, Reviewer("Practitioner/7"), NOW, "ZZCANARY")


def version(status="final", *, at=NOW, review=REVIEW):
    bundle = {"resourceType": "Bundle", "type": "transaction", "note": status}
    return NewVersion(ReportStatus(status), at, bundle, "ehr", review)


@pytest.fixture
def reported(store, received, assessment):
    """A function that stores a reported exam; returns its id and its deliveries'."""

    def report(*destinations, control_id="1", unscorable=None):
        exam_id = received(control_id)
        new = assessment(*destinations, unscorable=unscorable)
        return exam_id, store.save_assessment(exam_id, new)

    return report


def states(store, exam_id):
    return [(d.destination, d.version, d.state.value) for d in store.deliveries_of(exam_id)]


class TestVersions:
    def test_the_newest_is_what_is_read_and_found(self, store, reported):
        exam_id, _ = reported()
        assert store.read_report(exam_id).status is ReportStatus.PRELIMINARY
        assert store.add_version(exam_id, version(), expected=1) == ()
        newest = store.read_report(exam_id)
        assert (newest.version, newest.status, newest.actor) == (2, ReportStatus.FINAL, "ehr")
        assert (newest.issued_at, newest.review) == (NOW, REVIEW)
        assert newest.bundle["note"] == "final"
        assert store.search_reports() == (1, (newest,))

    def test_none_is_changed_by_the_next(self, store, reported):
        exam_id, _ = reported()
        first = store.read_report(exam_id)
        store.add_version(exam_id, version(), expected=1)
        store.add_version(exam_id, version("corrected"), expected=2)
        kept = store.versions_of(exam_id)
        assert [(v.version, v.status.value) for v in kept] == [
            (3, "corrected"),
            (2, "final"),
            (1, "preliminary"),
        ]
        assert kept[2] == first == store.read_version(exam_id, 1)
        assert store.read_version(exam_id, 3) == kept[0]

    def test_who_decided_is_listed_as_the_audit_log_tells_it(self, store, reported):
        exam_id, _ = reported()
        other, _ = reported(control_id="2")
        store.add_version(exam_id, version(review=None), expected=1)
        store.add_version(exam_id, version("corrected"), expected=2)
        store.add_version(other, version(), expected=1)
        assessed_at = store.read_version(exam_id, 1).issued_at
        assert store.version_summaries(exam_id) == (
            VersionSummary(1, ReportStatus.PRELIMINARY, assessed_at, None),
            VersionSummary(2, ReportStatus.FINAL, NOW, None),
            VersionSummary(3, ReportStatus.CORRECTED, NOW, "Practitioner/7"),
        )

    def test_what_is_not_there(self, store, received):
        exam_id = received()
        with pytest.raises(NotFound, match="no report on exam"):
            store.add_version(exam_id, version(), expected=1)
        with pytest.raises(NotFound, match="no report on exam"):
            store.add_version(UUID(int=1), version(), expected=1)
        with pytest.raises(NotFound, match="no version 1"):
            store.read_version(exam_id, 1)
        assert store.versions_of(exam_id) == ()

    @pytest.mark.parametrize("expected", [0, 1, 3])
    def test_who_looked_at_another_version_has_to_look_again(self, store, reported, expected):
        exam_id, _ = reported()
        store.add_version(exam_id, version(), expected=1)
        with pytest.raises(VersionConflict, match="version-conflict: version 2 is the newest"):
            store.add_version(exam_id, version("amended"), expected=expected)
        assert store.read_report(exam_id).version == 2

    def test_of_several_at_once_one_gets_in(self, store, reported):
        exam_id, _ = reported("fhir")
        barrier = Barrier(6)

        def add(_):
            barrier.wait()
            try:
                return store.add_version(exam_id, version(), expected=1)
            except VersionConflict:
                return None

        with ThreadPoolExecutor(6) as pool:
            added = [ids for ids in pool.map(add, range(6)) if ids is not None]
        assert len(added) == 1
        assert states(store, exam_id) == [("fhir", 1, "superseded"), ("fhir", 2, "pending")]

    def test_the_page_tells_the_version_it_belongs_to(self, store, reported):
        exam_id, _ = reported()
        store.add_version(exam_id, version(), expected=1)
        newest, first = store.load_assessed(exam_id), store.load_assessed(exam_id, 1)
        assert (newest.version, newest.status, newest.review) == (2, "final", REVIEW)
        assert newest.issued_at == NOW
        assert (first.version, first.status, first.review) == (1, "preliminary", None)
        assert first.issued_at == first.assessed_at == newest.assessed_at
        with pytest.raises(NotFound):
            store.load_assessed(exam_id, 3)

    def test_the_audit_log_tells_who_decided_and_not_what_they_wrote(self, store, reported):
        exam_id, _ = reported()
        store.add_version(exam_id, version(), expected=1)
        store.add_version(exam_id, version("preliminary", review=None), expected=2)
        store.seal_audit()
        told = [sealed.entry for sealed in store.audit_entries(exam_id=exam_id)][1:]
        assert [entry.kind for entry in told] == [AuditKind.CONFIRMATION, AuditKind.OPERATION]
        assert (told[0].actor, told[0].at) == ("ehr", NOW)
        assert told[0].content == {
            "version": 2,
            "status": "final",
            "sha256": "4802758c5ba7cd20eb2daa045b54c4eb354fc4fe19438459e0d2bcc32531d2d4",
            "decision": "confirm",
            "reviewer": "Practitioner/7",
        }


class TestTheirDeliveries:
    def test_each_goes_where_the_one_before_went(self, store, reported):
        exam_id, ids = reported("fhir", "oru")
        for id_ in ids:
            store.record_delivered(id_, "yes")
        assert store.load_exam(exam_id).state is ExamState.DELIVERED
        new = store.add_version(exam_id, version(), expected=1)
        assert store.load_exam(exam_id).state is ExamState.SCORED
        claimed = [store.claim_delivery(id_, NOW, 60) for id_ in new]
        assert [(c.destination, c.version, c.report["note"]) for c in claimed] == [
            ("fhir", 2, "final"),
            ("oru", 2, "final"),
        ]
        for id_ in new:
            store.record_delivered(id_, "yes")
        assert store.load_exam(exam_id).state is ExamState.DELIVERED

    def test_what_was_never_sent_is_not_sent_any_more(self, store, reported):
        exam_id, (first,) = reported("fhir")
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.claim_delivery(first, NOW, 60) is None
        assert store.claim_delivery(second, NOW, 60).version == 2
        store.record_delivered(second, "201")
        assert states(store, exam_id) == [("fhir", 1, "superseded"), ("fhir", 2, "delivered")]
        assert store.load_exam(exam_id).state is ExamState.DELIVERED

    def test_one_waits_while_an_earlier_one_is_under_way(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.claim_delivery(first, NOW, 60)
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.claim_delivery(second, NOW, 60) is None
        assert store.claim_due_deliveries(NOW, NOW, 9) == ()
        store.record_delivered(first, "201")
        assert store.load_exam(exam_id).state is ExamState.SCORED
        assert store.claim_due_deliveries(NOW, NOW, 9) == (second,)
        assert store.claim_delivery(second, NOW, 60).version == 2

    def test_an_earlier_one_that_failed_meanwhile_is_not_tried_again(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.claim_delivery(first, NOW, 60)
        (second,) = store.add_version(exam_id, version(), expected=1)
        store.record_retry(first, "503", NOW + MINUTE)
        assert states(store, exam_id)[0] == ("fhir", 1, "superseded")
        assert store.claim_delivery(second, NOW, 60)

    def test_an_earlier_one_whose_worker_died_is_not_tried_again(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.claim_delivery(first, NOW, 60)
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.claim_due_deliveries(NOW + MINUTE, NOW, 9) == (first,)
        assert store.claim_delivery(first, NOW + MINUTE, 60) is None
        assert states(store, exam_id)[0] == ("fhir", 1, "superseded")
        assert store.claim_delivery(second, NOW + MINUTE, 60)

    def test_one_that_waits_for_its_next_try_makes_room(self, store, reported):
        _, (first,) = reported("fhir")
        exam_id = store.claim_delivery(first, NOW, 600).exam_id
        store.record_retry(first, "503", NOW + 60 * MINUTE)
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.claim_delivery(second, NOW, 60)

    def test_one_that_was_refused_is_not_missed_once_the_next_is_there(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.record_undeliverable(first, "422")
        assert store.load_exam(exam_id).state is ExamState.UNDELIVERABLE
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.load_exam(exam_id).state is ExamState.SCORED
        store.record_delivered(second, "201")
        assert states(store, exam_id) == [("fhir", 1, "superseded"), ("fhir", 2, "delivered")]
        assert store.load_exam(exam_id).state is ExamState.DELIVERED

    def test_one_that_was_refused_is_not_sent_after_the_next(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.record_undeliverable(first, "422")
        (second,) = store.add_version(exam_id, version(), expected=1)
        assert store.deliver_again([first], NOW) == (first,)
        assert store.claim_delivery(first, NOW, 60) is None
        assert states(store, exam_id) == [("fhir", 1, "superseded"), ("fhir", 2, "pending")]
        assert store.claim_delivery(second, NOW, 60)

    def test_one_refused_while_the_next_waits_leaves_the_exam_open(self, store, reported):
        exam_id, (first,) = reported("fhir")
        store.claim_delivery(first, NOW, 60)
        store.add_version(exam_id, version(), expected=1)
        store.record_undeliverable(first, "422")
        assert store.load_exam(exam_id).state is ExamState.SCORED

    def test_destinations_wait_for_themselves_alone(self, store, reported):
        exam_id, (first, _) = reported("fhir", "oru")
        store.claim_delivery(first, NOW, 60)
        to_fhir, to_oru = store.add_version(exam_id, version(), expected=1)
        assert store.claim_delivery(to_fhir, NOW, 60) is None
        assert store.claim_delivery(to_oru, NOW, 60)

    def test_an_unscorable_exam_stays_so(self, store, reported):
        exam_id, _ = reported("fhir", unscorable="too-short")
        (second,) = store.add_version(exam_id, version(), expected=1)
        store.record_delivered(second, "201")
        assert store.load_exam(exam_id).state is ExamState.UNSCORABLE

    def test_what_is_on_its_way_is_not_started_again_by_hand(self, store, reported):
        _, (first,) = reported("fhir")
        store.claim_delivery(first, NOW, 60)
        store.record_retry(first, "503", NOW)
        assert store.claim_delivery(first, NOW, 60)
        assert store.deliver_again([first], NOW) == ()
        assert store.status(NOW).deliveries[DeliveryState.PENDING] == 1
