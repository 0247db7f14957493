"""Notifications of the three kinds, against the guide's own examples' shapes."""

import pytest

from integration.errors import Refused
from integration.fhir.notification import Event, Notification, notification_of
from tests.fhir_observations import component, observation

SUBSCRIPTION = "https://ehr.example.org/fhir/Subscription/9"
FOCUS = "https://ehr.example.org/fhir/Observation/1"
ECG = observation([component("I", [1])], id="1")


def backport(type_="event-notification", sent="2", events=(("2", FOCUS),), resources=()):
    """An R4 backport notification, as sekmet and the guide write them."""
    told = [
        {"name": "subscription", "valueReference": {"reference": SUBSCRIPTION}},
        {"name": "topic", "valueCanonical": "urn:topic"},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": type_},
    ]
    if sent is not None:
        told.append({"name": "events-since-subscription-start", "valueString": sent})
    for number, focus in events:
        part = [{"name": "event-number", "valueString": number}]
        part += [{"name": "focus", "valueReference": {"reference": focus}}] if focus else []
        told.append({"name": "notification-event", "part": part})
    first = {"resourceType": "Parameters", "parameter": told}
    entries = [{"resource": resource} for resource in (first, *resources)]
    return {"resourceType": "Bundle", "type": "history", "entry": entries}


def topic(kind="subscription-notification", **changes):
    """R5, and with `history` R4B."""
    first = {
        "resourceType": "SubscriptionStatus",
        "status": "active",
        "type": "event-notification",
        "eventsSinceSubscriptionStart": "2",
        "notificationEvent": [{"eventNumber": "2", "focus": {"reference": FOCUS}}],
        "subscription": {"reference": SUBSCRIPTION},
    } | changes
    entries = [{"resource": first}, {"resource": ECG}]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


@pytest.mark.parametrize(
    "resource",
    [backport(resources=[ECG]), topic(), topic("history", eventsSinceSubscriptionStart=2)],
)
def test_an_event_is_the_same_in_each_kind(resource):
    assert notification_of(resource) == Notification(
        "event-notification", SUBSCRIPTION, "active", 2, (Event(2, FOCUS),), (ECG,)
    )


def test_less():
    assert notification_of(backport(events=[("2", None)])).events == (Event(2, ""),)
    assert notification_of(backport("heartbeat", sent=None, events=())).sent is None
    shaken = notification_of(backport("handshake", "0", ()))
    assert (shaken.type, shaken.sent, shaken.events) == ("handshake", 0, ())


def test_plain_r4_is_the_resource():
    assert notification_of(ECG) == Notification("event-notification", resources=(ECG,))


@pytest.mark.parametrize(
    ("resource", "reason", "place"),
    [
        ({"resourceType": "Bundle", "type": "batch"}, "bundle-unsupported", "Bundle.type"),
        ({"resourceType": "Bundle", "type": "history"}, "bundle-malformed", None),
        (
            {"resourceType": "Bundle", "type": "history", "entry": [{"resource": ECG}]},
            "bundle-malformed",
            "Bundle.entry[0].resource",
        ),
        (backport("knock"), "field-malformed", "Bundle.entry[0].resource"),
        (backport(sent="-1"), "field-malformed", None),
        (backport(sent="9" * 30), "field-malformed", None),
        (backport(events=[("x", FOCUS)]), "field-malformed", None),
        (topic(subscription={"reference": "x" * 201}), "field-malformed", None),
        (topic(eventsSinceSubscriptionStart=True), "field-malformed", None),
    ],
)
def test_what_is_wrong(resource, reason, place):
    with pytest.raises(Refused) as caught:
        notification_of(resource)
    assert caught.value.reason == reason
    assert place is None or caught.value.expression == place
