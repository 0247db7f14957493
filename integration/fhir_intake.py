"""From the bytes of a FHIR body to committed ECGs and an answer.

A create, a transaction and a message are one message of the store each: all of it or none. A batch
is taken apart, and what is tied together in it is stored as if it had come alone. As with HL7 v2
the answer is stored beside the message, and a positive one leaves only after the commit. What is
decided on our reports is decided before that: sent again, it makes no other version.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from uuid import UUID

import orjson

from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.records import MessageState, NewExam, NewMessage
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
from integration.fhir.parsing import parse_resource
from integration.fhir_body import (
    PROTOCOL,
    Interaction,
    check_methods,
    control_id,
    kind_of,
    message_header,
)
from integration.fhir_decisions import Decisions, Origin
from integration.fhir_existing import (
    Look,
    check_name,
    condition_of,
    existing_unit,
    of_condition,
)
from integration.inbox import Inbox, tell_ecgs
from integration.review import Reviews

_KEPT_OF_TOO_LARGE = 4096
_IN_BUNDLE = re.compile(r"(?:Bundle\.entry\[(\d+)\]\.resource|(?!Bundle\b)[A-Za-z]+)(.*)")
_BESIDE = information("no ECG; looked at for what refers to it, and not served here")
_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class _Body:
    """A body that could be parsed, or a part of a batch."""

    raw: bytes
    resources: Resources
    units: Sequence[tuple[Entry, ...]]
    decisions: Sequence[Entry]
    control_id: str
    bundled: bool
    asked: Sequence[tuple[Entry, ...]] = ()  # the units as they were posted, with conditions
    named: bool = False  # by its one ECG
    known: Mapping[int, Json] = field(default_factory=dict)  # answers to what is here already


class FhirIntake:
    """Answers what was posted; one for all requests, thread-safe."""

    def __init__(
        self,
        store: Inbox,
        ring: Callable[[Sequence[UUID]], None] | None,
        *,
        reviews: Reviews | None = None,
        look: Look = lambda _protocol, _name: (),
        zone: tzinfo | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take what every answer needs.

        Args:
            store: where messages go.
            ring: rings a worker for each exam; None: the workers' sweep looks by itself.
            reviews: takes what is decided on our reports; None: nothing is.
            look: finds what was taken before, for conditions; without it nothing was.
            zone: of times without one, which R4 forbids.
            clock: returns the aware time.
        """
        self._store = store
        self._look = look
        self._decisions = Decisions(reviews)
        self._ring = ring
        self._zone = zone
        self._clock = clock

    @property
    def decides(self) -> bool:
        """Whether decisions on reports are taken."""
        return self._decisions.taken

    def answer(
        self, raw: bytes, interaction: Interaction, sender: Origin, condition: str | None = None
    ) -> Reply:
        """Store a body and return the answer.

        Args:
            raw: the body.
            interaction: where it was posted.
            sender: who sends it, and what they may do.
            condition: of a create, the identifier that nothing here has, as `system|value`.

        Raises:
            StoreUnavailable: nothing, or of a batch not all, is stored; it may come again.
        """
        header: Json | None = None
        try:
            resource = parse_resource(raw)
            kind = kind_of(resource, interaction)
            resources = resources_of(resource)
            check_methods(resource)
            if kind == "message":
                header = message_header(resources)
            body = self._body(raw, resource, resources, kind)
            if condition is not None:
                check_name(condition, resource)
        except Refused as error:
            return created(self._keep_refused(raw, "", error, sender))
        if kind == "batch" and (body.units or body.decisions):
            return self._answer_batch(body, resource, sender)
        kept = self._keep(body, sender, whole_ecg=interaction is Interaction.CREATE)
        if header is not None:
            return message_reply(kept, header)
        if kind in {"create", "decision"} or kept.status >= 400:
            return created(kept)
        return bundle_reply(kind, kept.entries)

    def _body(self, raw: bytes, resource: Json, resources: Resources, kind: str) -> _Body:
        alone = kind == "decision"  # refused where it decides nothing
        decisions = resources.entries if alone else self._decisions.of(resources)
        name = "" if alone else control_id(resource)
        bundled = kind not in {"create", "decision"}
        units = units_of(resources)
        named = kind == "create"
        return _Body(raw, resources, units, decisions, name, bundled, units, named)

    def _conditional(
        self, body: _Body, found: list[list[NewExam]]
    ) -> tuple[_Body, list[list[NewExam]]]:
        """Return a body and its ECGs, none where they are here already.

        Raises:
            Refused: `bundle-unsupported`; or as `existing_unit`.
            StoreUnavailable: it cannot be told.
        """
        ecgs = [unit for unit, exams in zip(body.asked, found, strict=True) if exams]
        asking = next((e for unit in ecgs for e in unit if condition_of(e)), None)
        if asking is None:
            return body, found
        if len(ecgs) > 1:
            detail = "one ECG with a condition a transaction; a batch takes several"
            raise of_condition(asking, Refused("bundle-unsupported", detail))
        if known := existing_unit(self._look, ecgs[0]):
            return replace(body, control_id="", named=False, known=known), [[] for _ in found]
        return replace(body, control_id=control_id(ecgs[0][0].resource.value), named=True), found

    def refuse_too_large(self, beginning: bytes, size: int, sender: Origin) -> Reply:
        """Record a body beyond the limit, by its beginning, and return the refusal.

        Args:
            beginning: what was read of it.
            size: bytes as far as known.
            sender: who sends it.
        """
        refused = Refused("message-too-large", "the body is larger than http.max_body_bytes")
        kept = self._keep_refused(beginning[:_KEPT_OF_TOO_LARGE], "", refused, sender, size)
        return created(kept)

    def _answer_batch(self, body: _Body, batch: Json, sender: Origin) -> Reply:
        place = {id(e.resource.value): n for n, e in enumerate(body.resources.entries)}
        responses = [entry_response(200, _BESIDE) for _ in place]
        parts = [_part(unit, body.resources, batch, place) for unit in body.units]
        for entry in body.decisions:
            position = place[id(entry.resource.value)]
            parts.append((_decision(batch["entry"][position]), [position]))
        for part, positions in parts:
            kept = self._keep(part, sender)
            for ordinal, position in enumerate(positions):
                if kept.entries:
                    responses[position] = kept.entries[ordinal]
                else:
                    outcome = _in_batch(kept.outcome, positions)
                    responses[position] = entry_response(kept.status, outcome)
        return bundle_reply("batch", responses)

    def _keep(self, body: _Body, sender: Origin, *, whole_ecg: bool = False) -> Kept:
        """Store a body as a whole.

        Args:
            body: what came.
            sender: who sent it.
            whole_ecg: whether it is refused when it has no ECG.
        """
        try:
            found = exams_by_unit(body.units, body.resources, self._zone)
            body, found = self._conditional(body, found)
            decided = self._decisions.take(body.decisions, sender)
        except StoreUnavailable:
            raise
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
        kept = _accepted(body, found, message, {**body.known, **decided})
        exams = [exam for exams in found for exam in exams]
        state = MessageState.ACCEPTED if exams else MessageState.NOT_ECG
        told = "report" if decided and not exams else None
        return self._store_answer(message, state, told, kept, exams)

    def _keep_refused(
        self, raw: bytes, name: str, error: Refused, sender: Origin, size: int | None = None
    ) -> Kept:
        message = self._message(raw, name, sender)
        if size is not None:
            message = replace(message, original_size=size)
        return self._store_answer(message, MessageState.REFUSED, error.reason, refusal(error))

    def _message(self, raw: bytes, name: str, sender: Origin) -> NewMessage:
        return NewMessage.whole(PROTOCOL, sender.name, name, raw, self._clock())

    def _store_answer(
        self,
        message: NewMessage,
        state: MessageState,
        reason: str | None,
        kept: Kept,
        exams: Sequence[NewExam] = (),
    ) -> Kept:
        rung = self._ring is not None
        incoming = Incoming(message, state, reason, kept.to_bytes(), exams)
        receipt = self._store.accept(incoming, rung=rung)
        if self._ring is not None:
            self._ring(receipt.exam_ids)
        told = (state, message.id, message.original_size, len(receipt.exam_ids), receipt.duplicate)
        _log.info("fhir body %s id=%s bytes=%d new_ecgs=%d duplicate=%s reason=%s", *told, reason)
        tell_ecgs(receipt)
        if receipt.conflict:
            _log.warning("message %s shares its control id with another one", message.id)
        return Kept.from_bytes(receipt.answer)


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
    name = control_id(unit[0].resource.value)
    bundled = len(own) > 1
    posted = {id(entry.resource.value): entry for entry in own}
    units = units_of(alone)
    asked = [tuple(posted[id(entry.resource.value)] for entry in one) for one in units]
    raw = orjson.dumps(body)
    return _Body(raw, alone, units, (), name, bundled, asked, named=True), positions


def _decision(entry: Json) -> _Body:
    """Return an entry of a batch that decides as a body of its own, its conditions included."""
    body = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
    resources = resources_of(body)
    return _Body(orjson.dumps(body), resources, (), resources.entries, "", bundled=True)


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


def _accepted(
    body: _Body, found: Sequence[Sequence[NewExam]], message: NewMessage, known: Mapping[int, Json]
) -> Kept:
    """Return the answer: for each entry, of which ECG it is a part, or what is known of it."""
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
        if (response := known.get(id(entry.resource.value))) is not None:
            responses.append(response)
            continue
        if text is None:
            responses.append(entry_response(200, _BESIDE))
            continue
        location = f"{entry.kind}/{message.id}" + (f"-{n}" if body.bundled else "")
        responses.append(entry_response(201, information(text), location))
    if known and not told:
        return Kept(200, next(iter(known.values()))["outcome"], responses)
    summary = "; ".join(dict.fromkeys(told.values())) or "no ECG in it"
    return Kept(201, information(summary), responses, body.named)
