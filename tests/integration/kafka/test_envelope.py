import base64

import orjson
import pytest

from integration.errors import Refused
from integration.kafka.envelope import Format, Record, format_of, open_value

MAX = 2**20
HL7 = b"MSH|^~\\&|CART"
FHIR = b'{"resourceType":"Observation"}'
ECG = b'{"type":"ecg"}'
CHUNK = b'{"type":"ecg-chunk"}'
BINARY = [("ce_specversion", b"1.0"), ("ce_id", b"e1"), ("ce_source", b"//c"), ("ce_type", b"t")]
STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def kind(media_type):
    return [("Content-Type", media_type)]


@pytest.mark.parametrize(
    ("value", "headers", "usual", "found"),
    [
        (b"x", kind(b"application/fhir+json; fhirVersion=4.0"), None, Format.FHIR),
        (b"x", kind(b"application/hl7-v2"), Format.ECG, Format.HL7),
        (b"x", kind(b"APPLICATION/vnd.hisbundle.ecg+json"), Format.HL7, Format.ECG),
        (b"x", kind(b"application/json"), Format.FHIR, Format.FHIR),
        (b"x", [], Format.HL7, Format.HL7),
        (HL7, [], None, Format.HL7),
        (FHIR, kind(b"application/json"), None, Format.FHIR),
        (ECG, [], None, Format.ECG),
        (CHUNK, [], None, Format.CHUNK),
        (b"x", kind(b"application/vnd.hisbundle.ecg-chunk+json"), Format.ECG, Format.CHUNK),
    ],
)
def test_the_header_tells_then_the_topic_then_the_first_words(value, headers, usual, found):
    envelope = open_value(value, headers, usual, MAX)
    assert (envelope.format, envelope.payload) == (found, value)
    assert (envelope.source, envelope.id) == ("", "")


@pytest.mark.parametrize("value", [b"", b"PID|1", b"[1]", b"{", b'{"type":"other"}', b"\xff" * 9])
def test_other_first_words_tell_nothing(value):
    assert format_of(value) is None
    with pytest.raises(Refused, match="format-unknown"):
        open_value(value, [], None, MAX)


@pytest.mark.parametrize("prefix", ["ce_", "ce-"])
def test_cloudevents_in_headers_name_the_event(prefix):
    headers = [(name.replace("ce_", prefix), value) for name, value in BINARY]
    envelope = open_value(HL7, headers, None, MAX)
    assert (envelope.source, envelope.id, envelope.payload) == ("//c", "e1", HL7)


def structured(**changes):
    event = {"specversion": "1.0", "id": "e1", "source": "//c", "type": "t"} | changes
    return orjson.dumps(event)


@pytest.mark.parametrize(
    ("changes", "payload", "found"),
    [
        ({"data": {"resourceType": "Bundle"}}, b'{"resourceType":"Bundle"}', Format.FHIR),
        ({"data": HL7.decode(), "datacontenttype": "application/hl7-v2"}, HL7, Format.HL7),
        ({"data_base64": base64.b64encode(HL7).decode()}, HL7, Format.HL7),
    ],
)
def test_cloudevents_around_the_payload(changes, payload, found):
    envelope = open_value(structured(**changes), STRUCTURED, None, MAX)
    assert (envelope.source, envelope.id) == ("//c", "e1")
    assert (envelope.payload, envelope.format) == (payload, found)


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (HL7, kind(b"image/png"), "format-unknown"),
        (HL7, [*kind(b"application/hl7-v2"), *kind(b"text/plain")], "field-malformed"),
        (HL7, BINARY[1:], "event-unsupported"),
        (HL7, [BINARY[0], *BINARY[2:]], "field-missing"),
        (HL7, [*BINARY, ("ce_id", b"e2")], "field-malformed"),
        (HL7, [*BINARY[:1], ("ce_id", b"x" * 300), *BINARY[2:]], "field-malformed"),
        (structured(specversion="0.3"), STRUCTURED, "event-unsupported"),
        (structured(id=7), STRUCTURED, "field-malformed"),
        (structured(source=""), STRUCTURED, "field-missing"),
        (structured(), STRUCTURED, "record-empty"),
        (structured(data=""), STRUCTURED, "record-empty"),
        (structured(data="MSH|\u00e9"), STRUCTURED, "field-malformed"),
        (structured(data_base64="?"), STRUCTURED, "field-malformed"),
        (b"{", STRUCTURED, "json-malformed"),
        (HL7, [("content-encoding", b"gzip")], "compression-malformed"),
    ],
)
def test_what_is_not_certain_is_refused(value, headers, reason):
    with pytest.raises(Refused) as caught:
        open_value(value, headers, None, MAX)
    assert caught.value.reason == reason


def test_other_headers_may_be_there_twice():
    headers = [("trace", b"1"), ("trace", b"2"), ("none", None)]
    assert open_value(HL7, headers, None, MAX).format is Format.HL7


def test_a_record_shows_its_place_and_nothing_else():
    record = Record("t", 3, 7, b"ZZCANARY", b"ZZCANARY", [("h", b"ZZCANARY")])
    assert record.place == "t 3:7"
    assert "ZZCANARY" not in repr(record)
