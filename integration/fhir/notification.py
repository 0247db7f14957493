"""What a FHIR server says when a subscription of ours has something.

R4 and R4B backport: a Bundle of type `history` whose first entry is a Parameters or a
SubscriptionStatus; R5: a `subscription-notification` with a SubscriptionStatus; plain R4: the
resource itself, or nothing at all (Subscriptions R5 Backport IG, notifications; R4 subscription).
"""

from dataclasses import dataclass, field

from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.element import Element

_TYPES = {"handshake", "heartbeat", "event-notification", "query-status", "query-event"}
_NOTICES = {"history", "subscription-notification"}
_MAX_REFERENCE = 200


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        number: from 1, counted from the subscription's start; None where it is not told.
        focus: reference, or "" where the content is empty.
    """

    number: int | None
    focus: str


@dataclass(frozen=True)
class Notification:
    """What was said.

    Attributes:
        type: `handshake`, `heartbeat`, `event-notification`, `query-status` or `query-event`.
        subscription: its reference; "" in plain R4.
        status: of the subscription, such as `active` or `error`, or "".
        sent: events since the subscription's start, or None.
        events: of this notification.
        resources: the content, as far as it came along.
    """

    type: str
    subscription: str = ""
    status: str = ""
    sent: int | None = None
    events: tuple[Event, ...] = ()
    resources: tuple[Json, ...] = field(default=(), repr=False)


def notification_of(resource: Json) -> Notification:
    """Read a notification.

    Raises:
        Refused: `bundle-unsupported`, `bundle-malformed`, `field-malformed`.
    """
    if resource["resourceType"] != "Bundle":
        return Notification("event-notification", resources=(resource,))
    bundle = Element(resource, "Bundle")
    if bundle.text("type") not in _NOTICES:
        raise bundle.refusal("bundle-unsupported", "a notification is expected", "type")
    contents = [entry.child("resource") for entry in bundle.items("entry")]
    first = contents[0] if contents else None
    kind = first.text("resourceType") if first else ""
    if first is None or kind not in {"Parameters", "SubscriptionStatus"}:
        detail = "the status of the subscription comes first"
        raise Refused("bundle-malformed", detail, expression="Bundle.entry[0].resource")
    found = _of_parameters(first) if kind == "Parameters" else _of_status(first)
    if found.type not in _TYPES:
        raise first.refusal("field-malformed", "an unknown type of notification")
    if len(found.subscription) > _MAX_REFERENCE:
        raise first.refusal("field-malformed", "a subscription's reference is too long")
    resources = tuple(content.value for content in contents[1:] if content is not None)
    return Notification(
        found.type, found.subscription, found.status, found.sent, found.events, resources
    )


def _of_parameters(parameters: Element) -> Notification:
    values = {item.text("name"): item for item in parameters.items("parameter")}
    events = [
        {part.text("name"): part for part in item.items("part")}
        for item in parameters.items("parameter")
        if item.text("name") == "notification-event"
    ]
    return Notification(
        _text(values, "type", "valueCode"),
        _reference(values, "subscription"),
        _text(values, "status", "valueCode"),
        _number(values.get("events-since-subscription-start"), "valueString", "valueInteger64"),
        tuple(
            Event(
                _number(event.get("event-number"), "valueString", "valueInteger64"),
                _reference(event, "focus"),
            )
            for event in events
        ),
    )


def _of_status(status: Element) -> Notification:
    name = "eventsSinceSubscriptionStart"
    events = [
        Event(_number(event, "eventNumber"), _referred(event.child("focus")))
        for event in status.items("notificationEvent")
    ]
    subscription = _referred(status.child("subscription"))
    told = _number(status, name)
    return Notification(
        status.text("type"), subscription, status.text("status"), told, tuple(events)
    )


def _text(values: dict[str, Element], name: str, member: str) -> str:
    return values[name].text(member) if name in values else ""


def _reference(values: dict[str, Element], name: str) -> str:
    return _referred(values[name].child("valueReference")) if name in values else ""


def _referred(reference: Element | None) -> str:
    return reference.text("reference") if reference else ""


def _number(holder: Element | None, *members: str) -> int | None:
    """Return a count: text in R4 and R5 (integer64), a number where a server writes one."""
    if holder is None:
        return None
    member = next((name for name in members if name in holder), None)
    if member is None:
        return None
    value = holder.value[member]
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise holder.refusal("field-malformed", "a count is expected", member)
    return int(text)
