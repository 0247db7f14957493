"""Ways to bring a report to a FHIR server, chosen by the destination's style.

Each may be repeated from its beginning: what is there already is found by its identifier. A Device,
which many reports share, is created before all else by one worker at a time, since servers whose
conditional create is not atomic would get two of it from two first reports. A later version of a
report is written over the one that we know to be there, see `before`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import cast
from uuid import UUID

from integration.errors import Refused, TryLater
from integration.fhir.before import Before, History, Standing, matched, matching, nothing_before
from integration.fhir.client import FhirClient, Place
from integration.fhir.codes import Json
from integration.fhir.profiles import condition_of, document, identifier_of, millennium_report
from integration.fhir.revision import sendable
from integration.fhir.settings import FhirDestinationSettings

# What refers to nothing first, what refers to the rest last.
_ORDER = ("Device", "Observation", "DiagnosticReport", "Provenance")

Exclusively = Callable[[str], AbstractContextManager[None]]


class FhirSender:
    """Sends reports to one FHIR server; threads may share it."""

    def __init__(
        self,
        client: FhirClient,
        settings: FhirDestinationSettings,
        exclusively: Exclusively,
        history: History = nothing_before,
    ) -> None:
        """Connect to nothing yet.

        Args:
            client: of the server.
            settings: of the destination.
            exclusively: a lock by name among all workers.
            history: tells what the server had of a report before.
        """
        self._client = client
        self._history = history
        self._settings = settings
        self._exclusively = exclusively
        self._devices: set[str] = set()
        ways = {
            "transaction": self._as_transaction,
            "single": self._singly,
            "report": self._as_report,
            "document": self._as_document,
        }
        self._send = ways[settings.sent_as]

    def send(self, bundle: Json) -> str:
        """Send a report and return the answer in short, without patient data.

        Raises:
            TryLater: see `client`, `smart`.
            Refused: see `client`, `smart`, `profiles`; `patient-unknown-there`,
                `patient-ambiguous-there`, `destination-conflict`.
            StoreUnavailable: the database does not tell what was before, or another worker takes
                long to create the Device.
        """
        known = self._history(_exam_id(bundle))
        try:
            return self._send(bundle, known.standing)
        except Refused as error:
            if error.reason != "destination-conflict" or known.standing is None:
                raise
            standing = self._newer(known, known.standing, error)
        try:
            return self._send(bundle, standing)
        except Refused as error:
            if error.reason != "destination-conflict":
                raise
            raise TryLater("destination-busy", "it is being changed there") from None

    def _newer(self, known: Before, former: Standing, error: Refused) -> Standing | None:
        """Return what may be written over instead; None: it is not there any more.

        Raises:
            TryLater: what we know of stands there.
            Refused: what stands there is something else.
        """
        found = self._client.read(former.reference)
        if found is None:
            return None
        resource, tag = found
        if tag == former.tag:  # it was refused for another reason, such as a lock
            raise TryLater("destination-busy", error.detail)
        if not known.is_known(resource):
            detail = "somebody has changed the report there, and not told us"
            raise Refused("destination-conflict", detail)
        return Standing(former.reference, tag) if tag else None

    def _as_transaction(self, bundle: Json, standing: Standing | None) -> str:
        for entry in bundle["entry"]:
            if self._may_be_missing(entry):
                with suppress(Refused):  # by itself; the transaction tells what is wrong, if at all
                    self._written(entry)
        return self._client.post_transaction(matching(bundle, standing))

    def _singly(self, bundle: Json, standing: Standing | None) -> str:
        places: dict[str, str] = {}
        told = ""
        for entry in sorted(sendable(matching(bundle, standing))["entry"], key=_rank):
            resource = _resolved(entry["resource"], places)
            place = self._written(entry | {"resource": resource})
            if "fullUrl" in entry:
                places[entry["fullUrl"]] = place.reference
            if resource["resourceType"] == "DiagnosticReport":
                told = place.told
        return told

    def _written(self, entry: Json) -> Place:
        """Write a resource, a Device that may be missing alone among all workers."""
        if not self._may_be_missing(entry):
            return self._client.write(entry)
        condition = condition_of(entry)
        with self._exclusively(f"device {self._settings.base_url} {condition}"):
            place = self._client.write(entry)
        self._devices.add(condition)
        return place

    def _may_be_missing(self, entry: Json) -> bool:
        """Whether it is a Device that this process has never seen there."""
        is_device = entry["resource"]["resourceType"] == "Device"
        return is_device and condition_of(entry) not in self._devices

    def _as_report(self, bundle: Json, standing: Standing | None) -> str:
        entry = millennium_report(bundle, self._settings.results_interpreter)
        return self._about_known_patient(matched(entry, standing))

    def _as_document(self, bundle: Json, _: Standing | None) -> str:
        entry = document(bundle)
        if self._settings.patient_systems:
            return self._about_known_patient(entry)
        return self._client.write(entry).told

    def _about_known_patient(self, entry: Json) -> str:
        """Write a resource whose subject is the server's own Patient; none is ever made."""
        resource = entry["resource"]
        identifier = identifier_of(resource["subject"], self._settings.patient_systems)
        found = self._client.search("Patient", {"identifier": identifier})
        if not found:
            raise Refused("patient-unknown-there", "the server has no such patient")
        if len(found) > 1:
            raise Refused("patient-ambiguous-there", f"the server has {len(found)} such patients")
        subject = {"reference": f"Patient/{found[0]}"}
        return self._client.write(entry | {"resource": resource | {"subject": subject}}).told


def _exam_id(bundle: Json) -> UUID:
    reports = (e["resource"] for e in bundle["entry"])
    report = next(r for r in reports if r["resourceType"] == "DiagnosticReport")
    return UUID(report["identifier"][0]["value"])


def _rank(entry: Json) -> int:
    kind = entry["resource"]["resourceType"]
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _resolved(value: Json, places: dict[str, str]) -> Json:
    """Return a resource with its references to what has been written."""
    resolved = _replaced(value, places)
    return cast("Json", resolved)


def _replaced(value: object, places: dict[str, str]) -> object:
    if isinstance(value, dict):
        return {
            name: places.get(part, part)
            if name == "reference" and isinstance(part, str)
            else _replaced(part, places)
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [_replaced(part, places) for part in value]
    return value
