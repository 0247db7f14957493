from dataclasses import replace
from datetime import UTC, datetime

import pytest

from db.reviews import Decision, ReportStatus, Review, Reviewer, status_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CODE = {"coding": [{"system": "http://snomed.info/sct", "code": "164889003"}]}
REVIEW = Review(
    Decision.OVERRIDE, Reviewer("Practitioner/7", "urn:x", "7", "Dr. A"), NOW, "AF", (CODE,)
)


@pytest.mark.parametrize(
    ("status", "decision", "after"),
    [
        ("preliminary", "confirm", "final"),
        ("preliminary", "override", "amended"),
        ("preliminary", "reject", "entered-in-error"),
        ("final", "confirm", "final"),
        ("final", "override", "corrected"),
        ("final", "reject", "entered-in-error"),
        ("amended", "confirm", None),
        ("amended", "override", "corrected"),
        ("amended", "reject", "entered-in-error"),
        ("corrected", "confirm", None),
        ("corrected", "override", "corrected"),
        ("corrected", "reject", "entered-in-error"),
        ("entered-in-error", "confirm", None),
        ("entered-in-error", "override", None),
        ("entered-in-error", "reject", "entered-in-error"),
    ],
)
def test_what_a_decision_makes_of_a_report(status, decision, after):
    assert status_after(Decision(decision), ReportStatus(status)) == after


def test_a_review_comes_back_from_plain_values():
    assert Review.from_json(REVIEW.to_json()) == REVIEW


def test_the_clinicians_words_are_not_shown():
    assert "AF" not in repr(REVIEW)
    assert "164889003" not in repr(REVIEW)


@pytest.mark.parametrize(
    ("change", "repeats"),
    [
        ({}, True),
        ({"at": datetime(2027, 1, 1, tzinfo=UTC)}, True),
        ({"decision": Decision.REJECT}, False),
        ({"text": "flutter"}, False),
        ({"codes": ()}, False),
        ({"reviewer": Reviewer("Practitioner/8")}, False),
    ],
)
def test_a_review_repeats_what_says_the_same(change, repeats):
    assert replace(REVIEW, **change).repeats(REVIEW) is repeats


def test_nothing_is_not_repeated():
    assert not REVIEW.repeats(None)


@pytest.mark.parametrize(
    ("reviewer", "shown", "key"),
    [
        (Reviewer("Practitioner/7", "urn:x", "7", "Dr. A"), "Dr. A", "Practitioner/7"),
        (Reviewer(None, "urn:x", "7"), "7", "urn:x|7"),
        (Reviewer(None, None, "7"), "7", "7"),
        (Reviewer("Practitioner/7"), "Practitioner/7", "Practitioner/7"),
    ],
)
def test_how_a_reviewer_is_named(reviewer, shown, key):
    assert (reviewer.shown, reviewer.key) == (shown, key)
