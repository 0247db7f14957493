"""What a FHIR server had of a report before the version that is sent, and what to do about it.

A later version is written over the one that we know to be there: `If-Match` with the ETag of the
last answer (R4, http.html#concurrency). If another one stands there, it is read: what says nothing
new, as our own version whose answer was lost, or what somebody decided there and told us since, is
written over; what we do not know of is not.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from db.records import DeliveryEnd, DeliveryState, StoredReport
from integration.fhir.amending import says_nothing_new
from integration.fhir.codes import Json

_TOLD = re.compile(r'\d{3} ([A-Za-z]+/[A-Za-z0-9.-]{1,64}) ((?:W/)?"[A-Za-z0-9._-]{1,64}")')


@dataclass(frozen=True)
class Standing:
    """Where a resource stands, `Kind/id`, and the ETag of its version."""

    reference: str
    tag: str

    @classmethod
    def told_in(cls, answer: str | None) -> Self | None:
        """Return what a delivery's answer tells; None where the server has no versions."""
        found = _TOLD.fullmatch(answer or "")
        return cls(found[1], found[2]) if found else None


@dataclass(frozen=True)
class Before:
    """What is known of a report at its destination.

    Attributes:
        standing: of the version that arrived there last, or None.
        is_known: tells whether a DiagnosticReport there holds nothing that we have not been told.
    """

    standing: Standing | None = None
    is_known: Callable[[Json], bool] = field(default=lambda _: True, repr=False)


History = Callable[[UUID], Before]


def nothing_before(_: UUID) -> Before:
    """Return what is known where nobody looks it up."""
    return Before()


def before(
    ends: Sequence[DeliveryEnd], destination: str, versions: Callable[[], Sequence[StoredReport]]
) -> Before:
    """Return what is known at a destination.

    Args:
        ends: of the report's deliveries.
        destination: which.
        versions: returns ours, the newest first; asked only when another one stands there.
    """
    arrived = [e for e in ends if e.destination == destination and e.answer is not None]
    last = max(
        (e for e in arrived if e.state is DeliveryState.DELIVERED),
        key=lambda e: e.version,
        default=None,
    )
    standing = Standing.told_in(last.answer) if last else None
    return Before(standing, lambda there: says_nothing_new(there, versions()))


def matched(entry: Json, standing: Standing | None) -> Json:
    """Return an entry that updates a report as one that writes over what stands there, if known."""
    if standing is None or entry["request"]["method"] != "PUT":
        return entry
    kind, _, id_ = standing.reference.partition("/")
    if entry["resource"]["resourceType"] != kind or kind != "DiagnosticReport":
        return entry
    request = {"method": "PUT", "url": standing.reference, "ifMatch": standing.tag}
    return entry | {"resource": entry["resource"] | {"id": id_}, "request": request}


def matching(bundle: Json, standing: Standing | None) -> Json:
    """Return a Bundle whose report is `matched`."""
    return bundle | {"entry": [matched(entry, standing) for entry in bundle["entry"]]}
