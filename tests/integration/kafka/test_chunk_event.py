import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from db.records import Bed, PatientRef
from integration.errors import Refused
from integration.kafka import ecg_event
from integration.kafka.chunk_event import SCHEMA, decode_chunk_event
from tests.chunk_events import RATE_HZ, T0, chunk_bytes, chunk_event

README = Path(__file__).parents[3] / "README.md"
VALIDATOR = Draft202012Validator(orjson.loads(SCHEMA.read_bytes()))
EPOCH = T0.isoformat()


def test_the_schema_is_one_and_leads_are_as_in_ecg_events():
    Draft202012Validator.check_schema(VALIDATOR.schema)
    other = orjson.loads(ecg_event.SCHEMA.read_bytes())
    for name in ("lead", "identifier"):
        assert VALIDATOR.schema["$defs"][name] == other["$defs"][name]
    for name in ("patient", "sampling_rate_hz"):
        assert VALIDATOR.schema["properties"][name] == other["properties"][name]


def test_a_chunk_becomes_a_packet():
    device, name, exam = decode_chunk_event(chunk_bytes(3, id="c3"))
    assert (device, name) == ("MONITOR-7", "c3")
    assert exam.patient == PatientRef("ZZCANARY-4711", "ZZCANARYHOSP")
    assert exam.acquired == exam.ecg.start == T0 + timedelta(seconds=3)
    assert (exam.ecg.leads, exam.ecg.n_samples) == (("II",), RATE_HZ)
    assert exam.ecg.resolution_mv == (0.005,)
    expected_mv = (np.arange(300, 400) % 199 - 99) * 0.005
    np.testing.assert_allclose(exam.ecg.voltage_mv[0], expected_mv, atol=1e-6)


def test_the_example_of_the_readme_is_a_chunk():
    (block,) = re.findall(r"```json\n(.*?)```", README.read_text(), re.DOTALL)
    event = orjson.loads(block)
    VALIDATOR.validate(event)
    device, _, exam = decode_chunk_event(block.encode())
    assert device == event["device"]
    assert exam.ecg.duration_s < 5


def test_samples_that_are_counted_are_timed_to_the_microsecond():
    day = 86_400 * RATE_HZ
    counted = {"start": None, "epoch": EPOCH, "first_sample": 30 * day + 1}
    event = chunk_event(**counted)
    VALIDATOR.validate(event)
    _, _, exam = decode_chunk_event(orjson.dumps(event))
    assert exam.ecg.start == T0 + timedelta(days=30, seconds=1 / RATE_HZ)


@pytest.mark.parametrize(
    ("bed", "expected"),
    [
        ({"unit": "ICU", "room": "3", "bed": "2", "facility": "H"}, Bed("ICU^3^2", "H")),
        ({"unit": "ICU", "bed": "2"}, Bed("ICU^^2")),
        ({"unit": "EUH-4TN-T435"}, Bed("EUH-4TN-T435")),
    ],
)
def test_a_bed_is_named_as_admissions_name_it(bed, expected):
    event = chunk_event(patient=None, bed=bed)
    VALIDATOR.validate(event)
    _, _, exam = decode_chunk_event(orjson.dumps(event))
    assert (exam.patient, exam.bed) == (None, expected)


def test_a_patient_who_is_told_is_not_looked_for_in_the_bed():
    _, _, exam = decode_chunk_event(chunk_bytes(bed={"unit": "ICU"}))
    assert exam.patient == PatientRef("ZZCANARY-4711", "ZZCANARYHOSP")


REFUSED = [
    ({"type": "ecg"}, "event-unsupported"),
    ({"version": 2}, "event-unsupported"),
    ({"gain": 2}, "field-malformed"),
    ({"device": None}, "device-missing"),
    ({"device": ""}, "device-missing"),
    ({"device": "x" * 65}, "field-malformed"),
    ({"device": "a^b"}, "field-malformed"),
    ({"device": "a\nb"}, "field-malformed"),
    ({"device": 7}, "field-malformed"),
    ({"patient": None}, "patient-missing"),
    ({"patient": {"authority": "A"}}, "patient-missing"),
    ({"patient": {"identifier": "1\n2"}}, "field-malformed"),
    ({"patient": None, "bed": {"room": "3"}}, "field-missing"),
    ({"patient": None, "bed": {"unit": "ICU^3"}}, "field-malformed"),
    ({"patient": None, "bed": {"unit": "ICU", "floor": "1"}}, "field-malformed"),
    ({"patient": None, "bed": "ICU"}, "field-malformed"),
    ({"start": None}, "time-missing"),
    ({"start": None, "epoch": EPOCH}, "time-missing"),
    ({"start": None, "first_sample": 0}, "time-missing"),
    ({"epoch": EPOCH, "first_sample": 0}, "time-missing"),
    ({"first_sample": 0}, "time-missing"),
    ({"start": None, "epoch": EPOCH, "first_sample": -1}, "field-malformed"),
    ({"start": None, "epoch": EPOCH, "first_sample": 1.5}, "field-malformed"),
    ({"start": None, "epoch": EPOCH, "first_sample": True}, "field-malformed"),
    ({"start": None, "epoch": EPOCH, "first_sample": 2**60}, "field-malformed"),
    ({"sampling_rate_hz": None}, "rate-missing"),
    ({"sampling_rate_hz": 0}, "rate-out-of-range"),
    ({"leads": []}, "lead-missing"),
]
BEYOND_THE_SCHEMA = [
    ({"start": "2026-01-02T03:04:05"}, "time-naive"),
    ({"start": "yesterday"}, "time-malformed"),
    ({"start": "0001-01-01T00:00:00+14:00"}, "time-malformed"),
    ({"start": None, "epoch": EPOCH, "first_sample": 2**50}, "time-malformed"),
    ({"seconds": 5}, "chunk-too-long"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED + BEYOND_THE_SCHEMA)
def test_nothing_is_guessed(changes, reason):
    with pytest.raises(Refused) as caught:
        decode_chunk_event(chunk_bytes(**changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_the_schema_refuses_what_the_decoder_refuses(changes, reason):
    assert not VALIDATOR.is_valid(chunk_event(**changes))
