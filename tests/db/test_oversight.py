from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from db.errors import NotFound
from db.oversight import ModelStop, Rehearsal
from db.reviews import Decision, ReportStatus, Review, Reviewer
from db.versions import NewVersion

NOW = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REVIEW = Review(Decision.CONFIRM, Reviewer("Practitioner/7"), NOW)


@pytest.fixture
def critical(store, received, assessment):
    """A function that stores an ECG with a critical finding; returns its id."""

    def make(control_id="1", *, answer_by=NOW, silent=False):
        exam_id = received(control_id)
        new = replace(assessment("fhir"), critical=("pause",), answer_by=answer_by, silent=silent)
        store.save_assessment(exam_id, new)
        return exam_id

    return make


def version(**changes):
    new = NewVersion(ReportStatus.FINAL, NOW, {"resourceType": "Bundle"}, "ehr")
    return replace(new, **changes)


class TestAlerts:
    def test_what_nobody_answers_is_due_the_earliest_first(self, store, critical):
        later, first = critical("a", answer_by=NOW + MINUTE), critical("b")
        assert store.unanswered_alerts(NOW - MINUTE, 9) == ()
        assert store.unanswered_alerts(NOW, 9) == (first,)
        assert store.unanswered_alerts(NOW + MINUTE, 9) == (first, later)
        assert store.unanswered_alerts(NOW + MINUTE, 1) == (first,)
        assert store.open_alerts() == (2, 0)

    def test_a_decision_answers(self, store, critical):
        exam_id = critical()
        store.add_version(exam_id, version(review=REVIEW), expected=1)
        assert store.unanswered_alerts(NOW, 9) == ()
        assert store.open_alerts() == (0, 0)

    def test_it_is_escalated_once_and_stays_open(self, store, critical):
        exam_id = critical()
        store.add_version(exam_id, version(escalates=True), expected=1)
        assert store.unanswered_alerts(NOW, 9) == ()
        assert store.open_alerts() == (1, 1)
        store.add_version(exam_id, version(review=REVIEW), expected=2)
        assert store.open_alerts() == (0, 0)

    def test_a_later_version_raises_one(self, store, received, assessment):
        exam_id = received()
        store.save_assessment(exam_id, assessment("fhir"))
        new = version(status=ReportStatus.PRELIMINARY, critical=("pause",), answer_by=NOW + MINUTE)
        store.add_version(exam_id, new, expected=1)
        assert store.unanswered_alerts(NOW, 9) == ()
        assert store.unanswered_alerts(NOW + MINUTE, 9) == (exam_id,)
        assert store.open_alerts() == (1, 0)

    @pytest.mark.parametrize(
        ("before", "due"),
        [
            ({}, NOW),
            ({"escalates": True}, NOW + MINUTE),
            ({"acknowledged_by": "7"}, NOW + MINUTE),
            ({"acknowledged_by": "7", "still_asks": True}, NOW),
        ],
        ids=["waits", "escalated", "answered", "answered-in-part"],
    )
    def test_another_one_waits_for_its_own_answer(self, store, critical, before, due):
        """The first one is escalated no later because of it."""
        exam_id = critical()
        store.add_version(exam_id, version(**before), expected=1)
        more = version(critical=("AF",), answer_by=NOW + MINUTE)
        store.add_version(exam_id, more, expected=2)
        assert store.open_alerts() == (1, 0)
        assert store.unanswered_alerts(due - MINUTE / 2, 9) == ()
        assert store.unanswered_alerts(due, 9) == (exam_id,)
        store.add_version(exam_id, version(acknowledged_by="7"), expected=3)
        assert store.open_alerts() == (0, 0)

    def test_another_version_alone_is_no_answer(self, store, critical):
        exam_id = critical()
        store.add_version(exam_id, version(), expected=1)
        assert store.unanswered_alerts(NOW, 9) == (exam_id,)

    @pytest.mark.parametrize("how", [{"answer_by": None}, {"silent": True}])
    def test_where_nobody_is_asked_nobody_has_to_answer(self, store, critical, how):
        critical(**how)
        assert store.unanswered_alerts(NOW + MINUTE, 9) == ()
        assert store.open_alerts() == (0, 0)


class TestSilence:
    def test_flags_are_counted(self, store, received, assessment, critical):
        assert store.rehearsal() == Rehearsal(0, 0, 0)
        assert store.rehearsal().flagged_per_100 is None
        store.save_assessment(received("a"), assessment("fhir"))
        critical("b", silent=True)
        for name in "cd":
            quiet = replace(assessment("fhir", unscorable="too-short"), silent=True)
            store.save_assessment(received(name), quiet)
        assert store.rehearsal() == Rehearsal(3, 1, 1)
        assert round(store.rehearsal().flagged_per_100, 1) == 33.3

    def test_nothing_is_delivered(self, store, critical):
        exam_id = critical(silent=True)
        assert store.deliveries_of(exam_id) == ()
        assert store.load_exam(exam_id).silent
        assert store.load_exam(exam_id).state == "delivered"


class TestStops:
    STOP = ModelStop("resting@1", NOW, "ops", "false alarms")

    def test_a_stop_is_seen_by_all_until_the_start(self, store):
        store.stop_model(self.STOP)
        assert store.model_stops() == (self.STOP,)
        store.stop_model(replace(self.STOP, why="still"))
        assert [stop.why for stop in store.model_stops()] == ["still"]
        store.start_model("resting@1", "ops", NOW)
        assert store.model_stops() == ()

    def test_what_is_not_stopped_cannot_be_started(self, store):
        with pytest.raises(NotFound, match="resting@1 is not stopped"):
            store.start_model("resting@1", "ops", NOW)

    def test_both_are_in_the_audit_log(self, store):
        store.stop_model(self.STOP)
        store.start_model("resting@1", "ops2", NOW + MINUTE)
        store.seal_audit()
        told = [(s.entry.actor, s.entry.content) for s in store.audit_entries()]
        assert told == [
            ("ops", {"stopped": "resting@1", "why": "false alarms"}),
            ("ops2", {"started": "resting@1"}),
        ]

    def test_what_was_used_is_counted(self, store, received, assessment):
        for name in "ab":
            store.save_assessment(received(name), assessment())
        assert store.models_used() == {"resting@1": 2}
