"""What a body is, told by what is in it."""

import orjson
import pytest

from integration.errors import Refused
from integration.fhir_body import Interaction, exams_in, interaction_of, kind_of, received_resource
from tests.fhir_observations import bundle, component, observation

ECG = observation([component("I", list(range(100)))], identifier=[{"value": "7"}])


@pytest.mark.parametrize(
    ("body", "interaction", "kind"),
    [
        (ECG, "create", "create"),
        (bundle(ECG), "bundle", "transaction"),
        (bundle(ECG, type_="message"), "message", "message"),
        ({"resourceType": "DiagnosticReport"}, "report", "decision"),
        ({"resourceType": "Communication"}, "alert", "decision"),
    ],
)
def test_where_a_body_belongs(body, interaction, kind):
    assert interaction_of(orjson.dumps(body)) == interaction
    assert kind_of(body, Interaction(interaction)) == kind
    with pytest.raises(Refused, match="resource-unsupported"):
        kind_of({"resourceType": "Patient"}, Interaction(interaction))


def test_what_nobody_waits_to_be_answered_for():
    name, exams = exams_in(orjson.dumps(ECG), None)
    assert (name, len(exams)) == ("7", 1)
    with pytest.raises(Refused, match="bundle-malformed"):
        exams_in(orjson.dumps(bundle(ECG, type_="message")), None)


def test_what_is_not_the_resource_asked_for():
    raw = orjson.dumps(bundle(ECG))
    assert received_resource(raw, "Observation", 0) == orjson.loads(orjson.dumps(ECG))
    for kind, ordinal in (("Observation", None), ("Observation", 1), ("Media", 0)):
        assert received_resource(raw, kind, ordinal) is None
    assert received_resource(b"MSH|^~\\&|", "Observation", None) is None
