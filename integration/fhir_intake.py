"""From the bytes of a FHIR body to committed ECGs and an answer.

A create, a transaction and a message are one message of the store each: all of it or none. A batch
is taken apart, and what is tied together in it is stored as if it had come alone. As with HL7 v2
the answer is stored beside the message, and a positive one leaves only after the commit.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from uuid import UUID

import orjson

from db.records import MessageState, NewExam, NewMessage, keepable
from integration.errors import Refused
from integration.fhir.answering import (
    Kept,
    Reply,
    bundle_reply,
    created,
    entry_response,
    information,
    message_reply,
    refusal,
)
from integration.fhir.bundle import Entry, Resources, referred
from integration.fhir.codes import Json
from integration.fhir.decode import exams_by_unit, resources_of, units_of
from integration.fhir.element import Element
from integration.fhir.parsing import parse_resource
from integration.inbox import Inbox, tell_ecgs

PROTOCOL = "fhir"
_METHODS = ("POST", "PUT", "")
_TYPES = ("batch", "transaction", "message")
_KEPT_OF_TOO_LARGE = 4096
_IN_BUNDLE = re.compile(r"(?:Bundle\.entry\[(\d+)\]\.resource|[A-Za-z]+)(.*)")
_BESIDE = information("no ECG; looked at for what refers to it, and not served here")
_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Interaction(StrEnum):
    """Where a body was posted."""

    CREATE = "create"  # /Observation
    BUNDLE = "bundle"  # the base URL
    MESSAGE = "message"  # $process-message


@dataclass(frozen=True)
class _Body:
    """A body that could be parsed, or a part of a batch."""

    raw: bytes
    resources: Resources
    units: Sequence[tuple[Entry, ...]]
    control_id: str
    bundled: bool


class FhirIntake:
    """Answers what was posted; one for all requests, thread-safe."""

    def __init__(
        self,
        store: Inbox,
        ring: Callable[[Sequence[UUID]], None] | None,
        *,
        zone: tzinfo | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take what every answer needs.

        Args:
            store: where messages go.
            ring: rings a worker for each exam; None: the workers' sweep looks by itself.
            zone: of times without one, which R4 forbids.
            clock: returns the aware time.
        """
        self._store = store
        self._ring = ring
        self._zone = zone
        self._clock = clock

    def answer(self, raw: bytes, interaction: Interaction, sender: str) -> Reply:
        """Store a body and return the answer.

        Args:
            raw: the body.
            interaction: where it was posted.
            sender: the authenticated client, or "".

        Raises:
            StoreUnavailable: nothing, or of a batch not all, is stored; it may come again.
        """
        header: Json | None = None
        try:
            resource = parse_resource(raw)
            kind = _kind(resource, interaction)
            resources = resources_of(resource)
            _check_methods(resource)
            if kind == "message":
                header = _message_header(resources)
            units, bundled = units_of(resources), kind != "create"
            body = _Body(raw, resources, units, _control_id(resource), bundled)
        except Refused as error:
            kept = self._keep_refused(raw, "", error, sender)
            return created(kept)
        if kind == "batch" and body.units:
            return self._answer_batch(body, resource, sender)
        kept = self._keep(body, sender, whole_ecg=interaction is Interaction.CREATE)
        if header is not None:
            return message_reply(kept, header)
        if kind == "create" or kept.status >= 400:
            return created(kept)
        return bundle_reply(kind, kept.entries)

    def refuse_too_large(self, beginning: bytes, size: int, sender: str) -> Reply:
        """Record a body beyond the limit, by its beginning, and return the refusal.

        Args:
            beginning: what was read of it.
            size: bytes as far as known.
            sender: the authenticated client, or "".
        """
        refused = Refused("message-too-large", "the body is larger than http.max_body_bytes")
        kept = self._keep_refused(beginning[:_KEPT_OF_TOO_LARGE], "", refused, sender, size)
        return created(kept)

    def _answer_batch(self, body: _Body, batch: Json, sender: str) -> Reply:
        place = {id(e.resource.value): n for n, e in enumerate(body.resources.entries)}
        responses = [entry_response(200, _BESIDE) for _ in place]
        for unit in body.units:
            part, positions = _part(unit, body.resources, batch, place)
            kept = self._keep(part, sender)
            for ordinal, position in enumerate(positions):
                if kept.entries:
                    responses[position] = kept.entries[ordinal]
                else:
                    outcome = _in_batch(kept.outcome, positions)
                    responses[position] = entry_response(kept.status, outcome)
        return bundle_reply("batch", responses)

    def _keep(self, body: _Body, sender: str, *, whole_ecg: bool = False) -> Kept:
        """Store a body as a whole.

        Args:
            body: what came.
            sender: who sent it.
            whole_ecg: whether it is refused when it has no ECG.
        """
        try:
            found = exams_by_unit(body.units, body.resources, self._zone)
        except Refused as error:
            return self._keep_refused(body.raw, body.control_id, error, sender)
        except Exception:  # noqa: BLE001 - whatever a body does to us, its sender is answered
            # Our fault: the bytes are kept, and the sender may send them again once it is mended.
            _log.exception("fhir body could not be read bytes=%d", len(body.raw))
            broken = Refused("internal-error", "this body could not be read")
            return self._keep_refused(body.raw, body.control_id, broken, sender)
        if whole_ecg and not any(found):
            none = Refused("not-ecg", "this Observation has no ECG", expression="Observation")
            return self._keep_refused(body.raw, body.control_id, none, sender)
        message = self._message(body.raw, body.control_id, sender)
        kept = _accepted(body, found, message)
        exams = [exam for exams in found for exam in exams]
        state = MessageState.ACCEPTED if exams else MessageState.NOT_ECG
        return self._store_answer(message, state, None, kept, exams)

    def _keep_refused(
        self, raw: bytes, control_id: str, error: Refused, sender: str, size: int | None = None
    ) -> Kept:
        message = self._message(raw, control_id, sender)
        if size is not None:
            message = replace(message, original_size=size)
        return self._store_answer(message, MessageState.REFUSED, error.reason, refusal(error))

    def _message(self, raw: bytes, control_id: str, sender: str) -> NewMessage:
        return NewMessage.whole(PROTOCOL, sender, control_id, raw, self._clock())

    def _store_answer(
        self,
        message: NewMessage,
        state: MessageState,
        reason: str | None,
        kept: Kept,
        exams: Sequence[NewExam] = (),
    ) -> Kept:
        rung = self._ring is not None
        receipt = self._store.accept(message, state, reason, kept.to_bytes(), exams, rung=rung)
        if self._ring is not None:
            self._ring(receipt.exam_ids)
        told = (state, message.id, message.original_size, len(receipt.exam_ids), receipt.duplicate)
        _log.info("fhir body %s id=%s bytes=%d new_ecgs=%d duplicate=%s reason=%s", *told, reason)
        tell_ecgs(receipt)
        if receipt.conflict:
            _log.warning("message %s shares its control id with another one", message.id)
        return Kept.from_bytes(receipt.answer)


def exams_in(raw: bytes, zone: tzinfo | None) -> tuple[str, list[NewExam]]:
    """Read an Observation or a Bundle that nobody waits to be answered for: all of it or none.

    Args:
        raw: the body.
        zone: of times without one, which R4 forbids.

    Returns:
        The sender's own name for the body, or "", and its ECGs.

    Raises:
        Refused: with a reason of `integration.errors.ANSWERS` and, where known, the place.
    """
    resource = parse_resource(raw)
    bundled = resource["resourceType"] == "Bundle"
    kind = _kind(resource, Interaction.BUNDLE if bundled else Interaction.CREATE)
    resources = resources_of(resource)
    _check_methods(resource)
    if kind == "message":
        _message_header(resources)
    found = exams_by_unit(units_of(resources), resources, zone)
    return _control_id(resource), [exam for exams in found for exam in exams]


def interaction_of(raw: bytes) -> Interaction:
    """Return where a body would have been posted.

    Raises:
        Refused: as `parse_resource`.
    """
    resource = parse_resource(raw)
    if resource["resourceType"] != "Bundle":
        return Interaction.CREATE
    return Interaction.MESSAGE if resource.get("type") == "message" else Interaction.BUNDLE


def received_resource(raw: bytes, kind: str, ordinal: int | None) -> Json | None:
    """Return a resource out of a stored body, or None where it is not what is asked for.

    Args:
        raw: the body.
        kind: resourceType.
        ordinal: of its entry; None: the body itself.
    """
    try:
        resource = parse_resource(raw)
        entries = resources_of(resource).entries
    except Refused:
        return None
    if (resource["resourceType"] == "Bundle") is (ordinal is None) or (ordinal or 0) >= len(
        entries
    ):
        return None
    found = entries[ordinal or 0]
    return found.resource.value if found.kind == kind else None


def _kind(resource: Json, interaction: Interaction) -> str:
    """Return `create`, or the type of the Bundle.

    Raises:
        Refused: `resource-unsupported`, `bundle-unsupported`.
    """
    element = Element(resource, resource["resourceType"])
    wanted = "Observation" if interaction is Interaction.CREATE else "Bundle"
    if resource["resourceType"] != wanted:
        raise element.refusal("resource-unsupported", f"{wanted} is taken here", "resourceType")
    if interaction is Interaction.CREATE:
        return "create"
    kind = element.text("type")
    if kind != "message" and (interaction is Interaction.MESSAGE or kind not in _TYPES):
        detail = "batch, transaction and message are taken, $process-message takes message"
        raise element.refusal("bundle-unsupported", detail, "type")
    return kind


def _check_methods(resource: Json) -> None:
    for entry in Element(resource, "Bundle").items("entry"):
        request = entry.child("request")
        if request is not None and request.text("method") not in _METHODS:
            detail = "entries create; other methods are not supported"
            raise request.refusal("bundle-unsupported", detail, "method")


def _message_header(resources: Resources) -> Json:
    first = resources.entries[0] if resources.entries else None
    if first is None or first.kind != "MessageHeader":
        detail = "a message begins with its MessageHeader"
        raise Refused("bundle-malformed", detail, expression="Bundle.entry[0].resource")
    return first.resource.value


def _control_id(resource: Json) -> str:
    """Return the sender's own name for a body: its identifier, its MessageHeader's id, or its id.

    What cannot be read or kept is none; the content tells bodies apart anyway.
    """
    element = Element(resource, resource["resourceType"])
    with contextlib.suppress(Refused):
        text = _business_name(element) or _literal_name(element)
        return text if keepable(text) else ""
    return ""


def _business_name(element: Element) -> str:
    if element.path == "Bundle":
        identifiers = [element.child("identifier")]
    else:
        identifiers = [*element.items("identifier")]
    first = identifiers[0] if identifiers else None
    if first is None or not first.text("value"):
        return ""
    return "|".join(filter(None, (first.text(name) for name in ("system", "value"))))


def _literal_name(element: Element) -> str:
    if element.path == "Bundle" and (entries := element.items("entry")):
        first = entries[0].child("resource")
        if first is not None and first.text("resourceType") == "MessageHeader":
            return first.text("id")
    id_, meta = element.text("id"), element.child("meta")
    version = meta.text("versionId") if meta else ""
    name = f"{element.path}/{id_}" if id_ else ""
    return name + (f"/_history/{version}" if name and version else "")


def _part(
    unit: Sequence[Entry], resources: Resources, batch: Json, place: dict[int, int]
) -> tuple[_Body, list[int]]:
    """Return a unit of a batch as a body of its own, and the places of its entries in the batch."""
    positions = sorted(
        place[id(entry.resource.value)]
        for entry in (*unit, *referred(resources, unit))
        if id(entry.resource.value) in place
    )
    own = [resources.entries[n] for n in positions]
    if len(own) == 1:
        body = own[0].resource.value
    else:
        entries = [batch["entry"][n] for n in positions]
        body = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    alone = resources_of(body)
    control_id = _control_id(unit[0].resource.value)
    return _Body(orjson.dumps(body), alone, units_of(alone), control_id, len(own) > 1), positions


def _in_batch(outcome: Json, positions: Sequence[int]) -> Json:
    """Return an outcome of a part with its expressions as places in the whole batch."""

    def moved(expression: str) -> str:
        match = _IN_BUNDLE.fullmatch(expression)
        if match is None:
            return expression
        return f"Bundle.entry[{positions[int(match[1] or 0)]}].resource{match[2]}"

    issues = [
        issue | {"expression": [moved(e) for e in issue["expression"]]}
        if "expression" in issue
        else issue
        for issue in outcome["issue"]
    ]
    return outcome | {"issue": issues}


def _accepted(body: _Body, found: Sequence[Sequence[NewExam]], message: NewMessage) -> Kept:
    """Return the answer: for each entry, of which ECG it is a part."""
    told: dict[int, str] = {}
    count = 0
    for unit, exams in zip(body.units, found, strict=True):
        ids = [str(message.exam_id(count + n)) for n in range(len(exams))]
        count += len(ids)
        if ids:
            told |= {id(e.resource.value): f"taken as ECG {', '.join(ids)}" for e in unit}
    responses = []
    for n, entry in enumerate(body.resources.entries):
        text = told.get(id(entry.resource.value))
        if text is None:
            responses.append(entry_response(200, _BESIDE))
            continue
        location = f"{entry.kind}/{message.id}" + (f"-{n}" if body.bundled else "")
        responses.append(entry_response(201, information(text), location))
    summary = "; ".join(dict.fromkeys(told.values())) or "no ECG in it"
    return Kept(201, information(summary), responses)
