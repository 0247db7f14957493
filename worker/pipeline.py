"""What a task does: plain functions of a store, a detector and destinations. No Celery here.

Each may run twice, at the same time or after a crash, with the effect of running once: the store
lets only one assessment in, and a destination creates a report only if it is not there yet.
"""

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from db.errors import Corrupt, NotFound, StoreUnavailable
from db.records import Delivery, Exam, NewAssessment
from db.store import Store
from integration.critical import CriticalSettings, critical_in
from integration.destinations import Destination
from integration.errors import Refused, TryLater
from integration.fhir.codes import Json
from integration.fhir.report import attach_page, build_report
from integration.logs import traced
from integration.render import page_of
from model.ecg import Ecg
from model.errors import HisbundleError
from model.findings import Findings

MAX_BACKOFF_S = 3600.0
SHORT_SAMPLES = 60_000  # a lead, a minute at 1 kHz: more than that is a task of its own
PROBE_S = 60.0  # at the latest somebody looks whether a destination is back
# What says nothing of the report: it is not one of the tries that a delivery has.
_OUTAGES = {
    "destination-unreachable",
    "destination-unavailable",
    "destination-not-configured",
    "token-unavailable",
    "store-unavailable",
}
_USUAL = CriticalSettings()
_log = logging.getLogger(__name__)


class Scorer(Protocol):
    """Anything that turns an ECG into findings: model.assessor.Assessor."""

    def score(self, ecg: Ecg) -> Findings:
        """Return what is found in one ECG."""
        ...


@dataclass(frozen=True)
class Rules:
    """What becomes of an exam.

    Attributes:
        destinations: where its report goes.
        max_attempts: at scoring it, before it counts as what kills its workers.
        critical: which findings somebody has to answer.
        silent: whether nothing is sent.
    """

    destinations: tuple[str, ...]
    max_attempts: int
    critical: CriticalSettings = _USUAL
    silent: bool = False


@dataclass(frozen=True)
class Retry:
    """When to give up, and how long to wait before."""

    max_attempts: int
    backoff_s: float
    lease_s: float


def score_exams(
    store: Store, scorer: Scorer, exam_ids: Sequence[UUID], rules: Rules
) -> tuple[UUID, ...]:
    """Assess several exams; store all short ones that nobody has tried before in one commit.

    Each is read by itself: what is found in it does not depend on its neighbours. One that was
    tried before may be what kills workers: it comes last and alone, so that it does not use up its
    neighbours' attempts.

    Returns:
        The deliveries to ring.
    """
    begun = store.begin_first_scoring(exam_ids, SHORT_SAMPLES)
    deliveries = _score(store, scorer, begun, rules)
    together = {exam.id for exam in begun}
    for exam_id in exam_ids:
        if exam_id not in together:
            deliveries += score_exam(store, scorer, exam_id, rules)
    return deliveries


def score_exam(store: Store, scorer: Scorer, exam_id: UUID, rules: Rules) -> tuple[UUID, ...]:
    """Assess one exam and store assessment, report and deliveries in one commit.

    Returns:
        The deliveries to ring; empty when somebody else was first or there is nowhere to send.
    """
    exam = store.begin_scoring(exam_id)
    if exam is None:
        return ()
    if exam.attempts > rules.max_attempts:
        # Its earlier attempts ended without a word: it kills its worker.
        _fail(store, exam, "scoring-crashed")
        return ()
    return _score(store, scorer, [exam], rules)


def _score(store: Store, scorer: Scorer, exams: list[Exam], rules: Rules) -> tuple[UUID, ...]:
    found: dict[UUID, NewAssessment] = {}
    for exam in exams:
        with traced(exam.id):
            try:
                findings = scorer.score(exam.ecg)
            except HisbundleError as error:
                _fail(store, exam, error.reason)
                continue
        if exam.of_stream:
            findings = replace(findings, episode=store.episode_finding_of(exam.id))
        found[exam.id] = _assessment(exam, findings, rules)
    deliveries: tuple[UUID, ...] = ()
    for exam_id, own in store.save_assessments(found).items() if found else ():
        with traced(exam_id):
            _tell(exam_id, found[exam_id], first=own is not None)
        deliveries += own or ()
    return deliveries


def _fail(store: Store, exam: Exam, reason: str) -> None:
    store.fail_exam(exam.id, reason)
    with traced(exam.id):
        _log.error("exam failed id=%s reason=%s attempts=%d", exam.id, reason, exam.attempts)


def _assessment(exam: Exam, findings: Findings, rules: Rules) -> NewAssessment:
    now = datetime.now(UTC)
    critical = critical_in(findings, rules.critical)
    return NewAssessment(
        findings,
        now,
        build_report(exam, findings, issued=now, critical=critical),
        rules.destinations,
        silent=rules.silent or exam.silent,
        critical=critical,
        answer_by=rules.critical.answer_by(now),
    )


def _tell(exam_id: UUID, new: NewAssessment, *, first: bool) -> None:
    if not first:
        _log.info("exam already assessed id=%s", exam_id)
        return
    if new.critical:
        _log.warning("critical finding id=%s codes=%s", exam_id, ",".join(new.critical))
    _log.info("exam assessed id=%s verdict=%s", exam_id, new.findings.quality.verdict)


def deliver(
    store: Store, destinations: Mapping[str, Destination], delivery_id: UUID, retry: Retry
) -> None:
    """Send one report to its destination and record the answer."""
    delivery = store.claim_delivery(delivery_id, datetime.now(UTC), retry.lease_s)
    if delivery is None:
        return
    with traced(delivery.exam_id):
        if delivery.attempts > retry.max_attempts:
            # It kills its worker, or takes longer than a task may.
            _give_up(store, delivery, f"delivery-crashed: {retry.max_attempts} tries had no end")
        else:
            _send(store, destinations, delivery, retry)


def _send(
    store: Store, destinations: Mapping[str, Destination], delivery: Delivery, retry: Retry
) -> None:
    destination = destinations.get(delivery.destination)
    if destination is None:
        # Settings changed under it; asking again later heals it once they are restored.
        away = TryLater("destination-not-configured", "no settings have its name")
        _try_later(store, delivery, away, retry)
        return
    try:
        answer = destination(_with_page(store, delivery))
    except Refused as error:
        store.note_answer(delivery.destination)
        _give_up(store, delivery, str(error))
    except TryLater as error:
        _try_later(store, delivery, error, retry)
    except StoreUnavailable as error:  # ours: it says nothing of the destination
        _put_off(store, delivery, str(error), retry)
    else:
        store.record_delivered(delivery.id, answer)
        store.note_answer(delivery.destination)
        _log.info("delivered id=%s destination=%s", delivery.id, delivery.destination)


def _try_later(store: Store, delivery: Delivery, error: TryLater, retry: Retry) -> None:
    """Put a delivery off, and leave its destination alone if others had to be put off too."""
    asked_s = None if error.retry_after_s is None else min(error.retry_after_s, MAX_BACKOFF_S)
    store.note_failure(
        delivery.destination, datetime.now(UTC), retry.backoff_s, PROBE_S, asked_s=asked_s
    )
    if error.reason in _OUTAGES or delivery.attempts < retry.max_attempts:
        _put_off(store, delivery, str(error), retry, asked_s)
    else:
        _give_up(store, delivery, f"gave up after {delivery.attempts} tries: {error}")


def _with_page(store: Store, delivery: Delivery) -> Json:
    """Return the report with its page; without it, where the samples are gone or do not decode."""
    try:
        return attach_page(
            delivery.report, page_of(store.load_assessed(delivery.exam_id, delivery.version))
        )
    except (NotFound, Corrupt) as error:
        _log.warning("report without page id=%s reason=%s", delivery.id, error.reason)
        return delivery.report


def backoff_s(attempts: int, first_s: float, chance: float, asked_s: float | None = None) -> float:
    """Return how long to wait after this many attempts: doubling, at most an hour, jittered.

    Jitter (`chance` in [0, 1)) spreads the load that an outage piles up (Brooker, "Exponential
    Backoff and Jitter", 2015). A wait that the other side asked for is never shortened.
    """
    ceiling = min(MAX_BACKOFF_S, first_s * 2.0 ** min(attempts - 1, 20))
    wait = ceiling * (0.5 + 0.5 * chance)
    return wait if asked_s is None else min(max(asked_s, 0.0), MAX_BACKOFF_S) + 0.1 * wait


def _put_off(
    store: Store, delivery: Delivery, answer: str, retry: Retry, asked_s: float | None = None
) -> None:
    wait = backoff_s(delivery.attempts, retry.backoff_s, random.random(), asked_s)  # noqa: S311
    due = datetime.now(UTC) + timedelta(seconds=wait)
    counted = answer.partition(":")[0] not in _OUTAGES
    store.record_retry(delivery.id, answer, due, counted=counted)
    _log.warning(
        "delivery put off id=%s destination=%s attempts=%d wait_s=%.0f answer=%s",
        delivery.id,
        delivery.destination,
        delivery.attempts,
        wait,
        answer,
    )


def _give_up(store: Store, delivery: Delivery, answer: str) -> None:
    store.record_undeliverable(delivery.id, answer)
    _log.error(
        "undeliverable id=%s destination=%s answer=%s", delivery.id, delivery.destination, answer
    )
