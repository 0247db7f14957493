"""A clinician's decision becomes the next version of a report, whichever way it came.

    POST DiagnosticReport/{id}/$confirm, `hisbundle report`, a report sent back by the EHR
    -> Reviews.decide -> one commit: version, deliveries, entry of the audit log

The same decision again changes nothing. Who looked at an older version than the newest, and says
so, has to look again.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from db.errors import VersionConflict
from db.records import StoredReport
from db.reviews import Decision, Review, status_after
from db.store import Store
from db.versions import NewVersion
from integration.errors import Refused
from integration.fhir.acknowledging import acknowledgement_in, is_open
from integration.fhir.amending import amending_review
from integration.fhir.codes import Json
from integration.fhir.revision import after_answer, revised

_RACES = 5  # lost in a row by who named no version
_log = logging.getLogger(__name__)


class Reviews:
    """Takes decisions; one for all callers, thread-safe."""

    def __init__(self, store: Store, ring: Callable[[Sequence[UUID]], None] | None) -> None:
        """Take the store, and what rings a worker for each delivery; None: the sweep looks."""
        self._store = store
        self._ring = ring

    def decide(
        self, exam_id: UUID, review: Review, *, actor: str, expected: int | None = None
    ) -> StoredReport:
        """Return the report as it stands after a decision.

        Args:
            exam_id: whose report.
            review: the decision.
            actor: who brought it here: an authenticated client, a sender, an operator.
            expected: number of the version that was looked at; None: whichever is the newest.

        Raises:
            Refused: `report-unknown`; `report-decided`: it cannot be decided so any more.
            VersionConflict: `version-conflict`.
        """
        return self._raced(
            exam_id, lambda versions: self._next(versions, review, actor, expected), expected
        )

    def amend(
        self,
        exam_id: UUID,
        resource: Json,
        *,
        actor: str,
        expected: int | None = None,
        at: datetime | None = None,
    ) -> StoredReport:
        """Return the report as it stands after another system sent it back.

        Args:
            exam_id: whose report.
            resource: DiagnosticReport, as `amending_review` reads it.
            actor: the authenticated client.
            expected: as for `decide`; None: where a version is made meanwhile it is read again.
            at: aware; when it was decided there, as far as told.

        Raises:
            Refused: as `decide` and `amending_review`.
            VersionConflict: `version-conflict`.
        """

        def decide(versions: Sequence[StoredReport]) -> StoredReport:
            review = amending_review(resource, versions, _when(at, versions[0]))
            return versions[0] if review is None else self._next(versions, review, actor, expected)

        return self._raced(exam_id, decide, expected)

    def acknowledge(
        self, exam_id: UUID, *resources: Json, actor: str, expected: int | None = None
    ) -> StoredReport:
        """Return the report as it stands after another system sent back its critical findings.

        Args:
            exam_id: whose report.
            resources: Communications, as `acknowledgement_in` reads them.
            actor: the authenticated client.
            expected: as for `decide`.

        Raises:
            Refused: `report-unknown`, or as `acknowledgement_in`.
            VersionConflict: `version-conflict`.
        """

        def answer(versions: Sequence[StoredReport]) -> StoredReport:
            newest, now = versions[0], datetime.now(UTC)
            read = [acknowledgement_in(resource, newest, now) for resource in resources]
            found = [answer for answer in read if answer is not None]
            if not found:
                return newest
            _check_newest(newest, expected)
            bundle = after_answer(newest, *found)
            new = NewVersion(
                newest.status,
                now,
                bundle,
                actor,
                acknowledged_by=", ".join({a.by: None for a in found if a.by}) or actor,
                still_asks=any(is_open(entry["resource"]) for entry in bundle["entry"]),
            )
            return self._add(newest, new)

        return self._raced(exam_id, answer, expected)

    def _raced(
        self,
        exam_id: UUID,
        attempt: Callable[[Sequence[StoredReport]], StoredReport],
        expected: int | None,
    ) -> StoredReport:
        """Try with the versions as they are until no other version comes in between."""
        for race in range(_RACES):
            versions = self._store.versions_of(exam_id)
            if not versions:
                raise Refused("report-unknown", "there is no report with this id")
            try:
                return attempt(versions)
            except VersionConflict:
                if expected is not None or race == _RACES - 1:
                    raise
        raise AssertionError("unreachable")

    def _next(
        self, versions: Sequence[StoredReport], review: Review, actor: str, expected: int | None
    ) -> StoredReport:
        newest = versions[0]
        if review.repeats(newest.review):
            return newest
        _check_newest(newest, expected)
        status = status_after(review.decision, newest.status)
        if status is None:
            detail = f"a report that is {newest.status} cannot be decided so: {review.decision}"
            raise Refused("report-decided", detail)
        if status is newest.status and review.decision is not Decision.OVERRIDE:
            return newest
        now = datetime.now(UTC)
        bundle = revised(versions, review, status, now)
        return self._add(newest, NewVersion(status, now, bundle, actor, review))

    def _add(self, newest: StoredReport, new: NewVersion) -> StoredReport:
        deliveries = self._store.add_version(newest.exam_id, new, expected=newest.version)
        told = (newest.exam_id, newest.version + 1, new.status, new.acknowledged_by is not None)
        _log.info("report decided id=%s version=%d status=%s acknowledged=%s", *told)
        if self._ring is not None:
            self._ring(deliveries)
        return self._store.read_report(newest.exam_id)


def _check_newest(newest: StoredReport, expected: int | None) -> None:
    if expected is not None and expected != newest.version:
        detail = f"version {newest.version} is the newest, not {expected}"
        raise VersionConflict("version-conflict", detail)


def _when(at: datetime | None, newest: StoredReport) -> datetime:
    """Return when it was decided: a time that only copies ours, or is to come, tells nothing."""
    now = datetime.now(UTC)
    return at if at is not None and newest.issued_at < at <= now else now
