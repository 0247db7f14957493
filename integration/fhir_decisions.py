"""What an EHR decides in a FHIR body: reports and alerts of ours that it sends back.

They are known by our identifier, whatever their id is there. In a Bundle only what decides is
looked at: a report that is still preliminary, an alert that nobody has answered, is an echo.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from db.errors import VersionConflict
from integration.errors import Refused
from integration.fhir import codes
from integration.fhir.acknowledging import ANSWERED
from integration.fhir.amending import DECISIVE
from integration.fhir.answering import entry_response, information
from integration.fhir.bundle import Entry, Resources
from integration.fhir.codes import Json
from integration.fhir.search import exam_id_in
from integration.review import Reviews

_DECISIVE: Mapping[str, frozenset[str]] = {
    "DiagnosticReport": frozenset(DECISIVE),
    "Communication": frozenset({ANSWERED}),
}
_TAG = re.compile(r'(?:W/)?"(\d{1,9})"', re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Who sends a body.

    Attributes:
        name: the authenticated client, or "".
        may: tells whether it may update resources of a type.
    """

    name: str
    may: Callable[[str], bool] = field(default=lambda _: True, repr=False)


class Decisions:
    """Takes what bodies decide; thread-safe."""

    def __init__(self, reviews: Reviews | None) -> None:
        """Take what makes versions; None: nothing is decided, as in an archive."""
        self._reviews = reviews

    @property
    def taken(self) -> bool:
        """Whether they are."""
        return self._reviews is not None

    def of(self, resources: Resources) -> list[Entry]:
        """Return what decides, in the order of the body."""
        found = [e for e in resources.entries if e.kind in _DECISIVE and _decides(e)]
        return found if self.taken else []

    def take(self, entries: Sequence[Entry], sender: Origin) -> dict[int, Json]:
        """Decide all of these or none: they have to be about one report.

        A decision on the report answers its alerts.

        Returns:
            `Bundle.entry.response` by the `id` of the entry's resource.

        Raises:
            Refused: as `Reviews.amend` and `Reviews.acknowledge`, with the place in the body;
                `decision-not-allowed`, `version-conflict`.
            StoreUnavailable: nothing is decided.
        """
        if self._reviews is None or not entries:
            return {}
        first = _exam_id(entries[0])
        stray = next((e for e in entries if _exam_id(e) != first), None)
        reports = [e for e in entries if e.kind == "DiagnosticReport"]
        if stray is None and len(reports) > 1:
            stray = reports[1]
        if stray is not None:
            detail = "one report is decided on at once; a batch takes several"
            raise stray.resource.refusal("decision-malformed", detail)
        response = self._taken(self._reviews, reports or entries, sender)
        return {id(entry.resource.value): response for entry in entries}

    def _taken(self, reviews: Reviews, entries: Sequence[Entry], sender: Origin) -> Json:
        """Take one report, or the alerts of one."""
        entry, exam_id = entries[0], _exam_id(entries[0])
        resource = entry.resource
        if not sender.may(entry.kind):
            detail = f"no scope of the token gives system/{entry.kind}.u"
            raise resource.refusal("decision-not-allowed", detail)
        actor = sender.name or "http"
        tag = entry.request.text("ifMatch") if entry.request else ""
        try:
            expected = version_in(tag or "*")
            if entry.kind == "DiagnosticReport":
                report = reviews.amend(exam_id, resource.value, actor=actor, expected=expected)
            else:
                alerts = [one.resource.value for one in entries]
                report = reviews.acknowledge(exam_id, *alerts, actor=actor, expected=expected)
        except Refused as error:
            place = error.expression.removeprefix(entry.kind)
            expression = f"{resource.path}{place}"
            raise Refused(error.reason, error.detail, expression=expression) from None
        except VersionConflict as error:
            raise resource.refusal(error.reason, error.detail) from None
        place = f"DiagnosticReport/{report.exam_id}/_history/{report.version}"
        told = information(f"the report is {report.status}")
        return entry_response(200, told, place) | {"etag": f'W/"{report.version}"'}


def version_in(tag: str) -> int | None:
    """Return the version of a report that an If-Match names; None: whichever is the newest.

    Raises:
        Refused: `decision-malformed`.
    """
    found = _TAG.fullmatch(tag.strip())
    if found is None and tag.strip() != "*":
        raise Refused("decision-malformed", 'If-Match: one W/"version" of the report is expected')
    return int(found[1]) if found else None


def is_ours(entry: Entry) -> bool:
    """Tell whether a resource carries our identifier; of others no more is looked at."""
    return bool(_names(entry))


def _decides(entry: Entry) -> bool:
    status = entry.resource.value.get("status")
    return isinstance(status, str) and status in _DECISIVE[entry.kind] and is_ours(entry)


def _names(entry: Entry) -> list[str]:
    given = entry.resource.value.get("identifier")
    named = [i for i in given if isinstance(i, dict)] if isinstance(given, list) else []
    return [str(i.get("value", "")) for i in named if i.get("system") == codes.ID]


def _exam_id(entry: Entry) -> UUID:
    found = {exam_id_in(name) for name in _names(entry)}
    exam_id = found.pop() if len(found) == 1 else None
    if exam_id is None:
        detail = "no report of ours is named"
        raise entry.resource.refusal("report-unknown", detail, "identifier")
    return exam_id
