"""FHIR XML to JSON, against fhir.resources' own XML."""

import orjson
import pytest
from fhir.resources.observation import Observation as ObservationR5

from integration.errors import Refused
from integration.fhir.decode import decode
from integration.fhir.parsing import parse_resource
from integration.fhir.xml import is_xml, resource_of_xml, xml_of
from model.simulate import simulate
from tests.fhir_observations import bundle, component, observation, of_ecg, sampled

ROOT = '<Observation xmlns="http://hl7.org/fhir">{}</Observation>'


def xml(inner):
    return ROOT.format(inner).encode()


def refused(raw):
    with pytest.raises(Refused) as caught:
        parse_resource(raw)
    return caught.value.reason, caught.value.expression


def test_an_ecg_is_the_same_as_from_json():
    resource = of_ecg(simulate("normal", seed=1))
    (from_xml,) = decode(xml_of(resource))
    (from_json,) = decode(orjson.dumps(resource))
    assert (from_xml.ecg.voltage_mv == from_json.ecg.voltage_mv).all()
    assert (from_xml.patient, from_xml.acquired) == (from_json.patient, from_json.acquired)


@pytest.mark.parametrize(
    "resource",
    [
        observation(
            [component("I", [1, 2], lowerLimit=-1.5)],
            contained=[{"resourceType": "Patient", "id": "p", "active": True}],
            _status={"extension": [{"url": "urn:x", "valueInteger": 3}]},
            extension=[{"url": "urn:y", "valueString": "a < b & c"}],
        ),
        bundle(observation([component("II", [1])]), {"resourceType": "Patient"}),
    ],
)
def test_what_another_writer_made(resource):
    assert resource_of_xml(xml_of(resource)) == resource


def test_primitives_without_a_value_keep_their_place():
    given = '<name><given value="A"/><given id="x"/></name>'
    told = resource_of_xml(f'<Patient xmlns="http://hl7.org/fhir">{given}</Patient>'.encode())
    assert told["name"] == [{"given": ["A", None], "_given": [None, {"id": "x"}]}]


def test_r5():
    shape = sampled([1, 2], period=None, interval=2, intervalUnit="ms")
    resource = observation([component("I", [1, 2]) | {"valueSampledData": shape}])
    written = ObservationR5.model_validate(resource).model_dump_xml()
    raw = written if isinstance(written, bytes) else written.encode()
    assert resource_of_xml(raw) == resource
    assert decode(raw)[0].ecg.sampling_rate_hz == 500


@pytest.mark.parametrize(
    ("text", "number"),
    [("-7", -7), ("+7", 7.0), ("0.5", 0.5), (".5e1", 5.0), ("1" + "0" * 20, 1e20)],
)
def test_numbers_are_those_of_json(text, number):
    told = resource_of_xml(xml(f'<valueQuantity><value value="{text}"/></valueQuantity>'))
    assert orjson.loads(orjson.dumps(told))["valueQuantity"] == {"value": number}


def test_a_narrative_is_kept_as_it_is():
    div = '<div xmlns="http://www.w3.org/1999/xhtml"><p>x</p></div>'
    told = resource_of_xml(xml(f'<text><status value="empty"/>{div}</text>'))
    assert told["text"] == {"status": "empty", "div": div}


@pytest.mark.parametrize(
    ("raw", "reason", "place"),
    [
        (xml("<status>"), "xml-malformed", ""),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + xml(""), "xml-forbidden", ""),
        (xml("<a>" * 300 + "</a>" * 300), "xml-malformed", ""),
        (xml("<extension>" * 80 + "</extension>" * 80), "xml-forbidden", None),
        (b"<Observation/>", "xml-malformed", "Resource"),
        (b'<ZZCANARY xmlns="http://hl7.org/fhir"/>', "resource-unsupported", None),
        (xml('<sex value="x"/>'), "field-malformed", "Observation.sex"),
        (xml('<status value="x"/>' * 2), "field-malformed", "Observation.status"),
        (xml('<valueBoolean value="1"/>'), "field-malformed", "Observation.valueBoolean"),
        (xml('<valueInteger value="1x"/>'), "field-malformed", "Observation.valueInteger"),
        *(
            (
                xml(f'<valueQuantity><value value="{number}"/></valueQuantity>'),
                "field-malformed",
                "Observation.valueQuantity.value",
            )
            for number in ("NaN", "infinity", "1_0", "\u0663", "9" * 400, "9" * 5000)
        ),
        (
            xml('<component><valueSampledData><period value="x"/></valueSampledData></component>'),
            "field-malformed",
            "Observation.component[0].valueSampledData.period",
        ),
        (xml("<contained/>"), "field-malformed", "Observation.contained[0]"),
    ],
)
def test_what_is_wrong(raw, reason, place):
    told = refused(raw)
    assert told[0] == reason
    assert place is None or told[1] == place


def test_the_bytes_tell():
    assert is_xml(b"\xef\xbb\xbf \n<a/>")
    assert not is_xml(b'{"a": "<"}')
    assert not is_xml(b"")


def test_our_own_answers_are_written():
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "x"}]}
    assert resource_of_xml(xml_of(outcome)) == outcome
