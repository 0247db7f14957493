import base64
from datetime import timedelta

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from db.records import PatientRef
from integration.errors import Refused
from integration.kafka.ecg_event import SCHEMA, decode_ecg_event
from model.ecg import LEADS_12
from tests.ecg_events import counts, ecg_bytes, ecg_event

VALIDATOR = Draft202012Validator(orjson.loads(SCHEMA.read_bytes()))


def test_the_schema_is_one():
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("packed", [True, False])
def test_an_event_becomes_millivolts(packed):
    name, exam = decode_ecg_event(ecg_bytes(3, packed=packed, placer_order="P", filler_order="F"))
    assert name == "event-3"
    assert exam.patient == PatientRef("ZZCANARY-4711", "ZZCANARYHOSP")
    assert (exam.placer_order, exam.filler_order) == ("P", "F")
    assert exam.acquired.utcoffset() == timedelta(hours=1)
    assert exam.ecg.start == exam.acquired
    assert (exam.ecg.leads, exam.ecg.sampling_rate_hz) == (LEADS_12, 250)
    assert exam.ecg.resolution_mv == (0.005,) * 12
    np.testing.assert_allclose(exam.ecg.voltage_mv, counts(3) * 0.005, atol=1e-6)


def lead(**changes):
    made = {"name": "II", "unit": "mV", "resolution": 0.01, "samples": [1, 2, 3]} | changes
    return {name: value for name, value in made.items() if value is not None}


def packed(*samples):
    return base64.b64encode(np.array(samples, "<i2").tobytes()).decode()


@pytest.mark.parametrize(
    ("changes", "expected_mv"),
    [
        ({}, [0.01, 0.02, 0.03]),
        ({"samples": [1, None, 3]}, [0.01, np.nan, 0.03]),
        ({"unit": "uV", "resolution": 5}, [0.005, 0.010, 0.015]),
        ({"unit": "nV", "resolution": 2440}, [0.00244, 0.00488, 0.00732]),
        ({"samples": None, "samples_int16le": packed(-1, 256, 7)}, [-0.01, 2.56, 0.07]),
        (
            {"samples": None, "samples_int16le": packed(-32768, 1, 2), "missing": -32768},
            [np.nan, 0.01, 0.02],
        ),
    ],
)
def test_samples_times_resolution(changes, expected_mv):
    event = ecg_event(leads=[lead(**changes)])
    VALIDATOR.validate(event)
    _, exam = decode_ecg_event(orjson.dumps(event))
    np.testing.assert_allclose(exam.ecg.voltage_mv[0], expected_mv, rtol=1e-6)


REFUSED = [
    ({"type": "echo"}, "event-unsupported"),
    ({"version": 2}, "event-unsupported"),
    ({"version": True}, "event-unsupported"),
    ({"patient": None}, "patient-missing"),
    ({"patient": {"authority": "A"}}, "patient-missing"),
    ({"patient": {"identifier": "1", "name": "x"}}, "field-malformed"),
    ({"patient": {"identifier": "1" * 251}}, "field-malformed"),
    ({"patient": {"identifier": "1\n2"}}, "field-malformed"),
    ({"patient": "4711"}, "field-malformed"),
    ({"sampling_rate_hz": None}, "rate-missing"),
    ({"sampling_rate_hz": "500"}, "field-malformed"),
    ({"sampling_rate_hz": 10}, "rate-out-of-range"),
    ({"gain": 2}, "field-malformed"),
    ({"id": ""}, "field-malformed"),
    ({"leads": None}, "lead-missing"),
    ({"leads": []}, "lead-missing"),
    ({"leads": [lead(name="MCL1")]}, "lead-unknown"),
    ({"leads": [lead(), lead(name="I", samples=[1])]}, "lengths-differ"),
    ({"leads": [lead(), lead()]}, "lead-duplicate"),
    ({"leads": [lead(unit=None)]}, "unit-unknown"),
    ({"leads": [lead(unit="pT")]}, "unit-unknown"),
    ({"leads": [lead(resolution=None)]}, "resolution-missing"),
    ({"leads": [lead(resolution=0)]}, "resolution-out-of-range"),
    ({"leads": [lead(samples=None)]}, "samples-missing"),
    ({"leads": [lead(samples_int16le=packed(1, 2, 3))]}, "samples-missing"),
    ({"leads": [lead(samples=[])]}, "samples-out-of-range"),
    ({"leads": [lead(samples=[1.5])]}, "samples-malformed"),
    ({"leads": [lead(samples=[True])]}, "samples-malformed"),
    ({"leads": [lead(samples=["1"])]}, "samples-malformed"),
    ({"leads": [lead(samples=[2**40])]}, "samples-out-of-range"),
    ({"leads": [lead(missing=0)]}, "field-malformed"),
    ({"leads": [lead(samples=None, samples_int16le="AA=")]}, "samples-malformed"),
    (
        {"leads": [lead(samples=None, samples_int16le=packed(1, 2), missing=2**15)]},
        "field-malformed",
    ),
]
# What a schema cannot say, or this one says less strictly than the decoder.
BEYOND_THE_SCHEMA = [
    ({"start": "2026-01-02T03:04:05"}, "time-naive"),
    ({"start": "yesterday"}, "time-malformed"),
    ({"leads": [lead(samples=[30_000])]}, "amplitude-implausible"),
    ({"leads": [lead(resolution=2)]}, "resolution-out-of-range"),
    ({"leads": [lead(samples=None, samples_int16le="AAAA")]}, "samples-malformed"),
]
SEMANTIC = {"lengths-differ", "lead-duplicate"}


@pytest.mark.parametrize(("changes", "reason"), REFUSED + BEYOND_THE_SCHEMA)
def test_nothing_is_guessed(changes, reason):
    with pytest.raises(Refused) as caught:
        decode_ecg_event(orjson.dumps(ecg_event(**changes)))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_the_schema_refuses_what_the_decoder_refuses(changes, reason):
    if reason not in SEMANTIC and "AA=" not in str(changes):
        assert not VALIDATOR.is_valid(ecg_event(**changes))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", ecg_bytes()[:-20]])
def test_what_is_no_object_is_refused(raw):
    with pytest.raises(Refused, match="json-malformed"):
        decode_ecg_event(raw)


def test_the_place_is_told():
    with pytest.raises(Refused) as caught:
        decode_ecg_event(orjson.dumps(ecg_event(leads=[lead(), lead(name="I", unit="x")])))
    assert caught.value.expression == "event.leads[1].unit"
