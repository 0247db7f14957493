import orjson
import pytest

from integration.errors import Refused
from integration.fhir.parsing import MAX_DEPTH, parse_resource


def test_a_resource():
    assert parse_resource(b'{"resourceType":"Patient","id":"1"}')["id"] == "1"


def nested(depth):
    return b'{"resourceType":"Basic","x":' + b"[" * depth + b"]" * depth + b"}"


def test_depth():
    assert parse_resource(nested(MAX_DEPTH - 2))
    for depth in (MAX_DEPTH + 1, 500):
        with pytest.raises(Refused) as caught:
            parse_resource(nested(depth))
        assert caught.value.reason == "json-too-complex"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "json-malformed"),
        (b'{"resourceType":"Observation","component":[{"co', "json-malformed"),
        (b'{"resourceType":"Observation","x":"\xe9"}', "json-malformed"),
        ('{"resourceType":"Observation"}'.encode("utf-16"), "json-malformed"),
        (b"[]", "json-malformed"),
        (b'"Observation"', "json-malformed"),
        (b"{}", "json-malformed"),
        (b'{"resourceType":7}', "json-malformed"),
        (b'{"resourceType":"../x"}', "json-malformed"),
        (b'{"resourceType":"Observation","x":NaN}', "json-malformed"),
        (nested(5000), "json-malformed"),
        (b"[" * 300_000, "json-too-complex"),
        (orjson.dumps({"resourceType": "Basic", "x": [0] * 1_100_000}), "json-too-complex"),
    ],
)
def test_refused(raw, reason):
    with pytest.raises(Refused) as caught:
        parse_resource(raw)
    assert caught.value.reason == reason
    assert len(caught.value.detail) < 80
