"""Bodies to ECGs, and the samples of the specification against a reviewed table."""

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import orjson
import pytest

from db.records import PatientRef
from integration.errors import ANSWERS, Refused
from integration.fhir.decode import decode, resources_of, units_of
from model.ecg import LEADS_12
from model.simulate import simulate
from tests.fhir_observations import bundle, component, full_url, observation, of_ecg, one_lead

SHARED = Path(os.environ.get("ECG_DATA", Path(__file__).parents[4] / "shared"))
WHEN = datetime(2026, 3, 1, 8, 30, 15, tzinfo=timezone(timedelta(hours=1)))


def read(resource):
    return decode(orjson.dumps(resource))


def refused(resource):
    with pytest.raises(Refused) as caught:
        read(resource)
    assert caught.value.reason in ANSWERS
    return caught.value.reason, caught.value.expression


def test_twelve_leads():
    ecg = simulate("normal", seed=1)
    (exam,) = read(of_ecg(ecg))
    assert exam.ecg.leads == ecg.leads
    assert np.abs(exam.ecg.voltage_mv - ecg.voltage_mv).max() <= 0.0026  # half a step of 5 uV
    assert exam.ecg.sampling_rate_hz == ecg.sampling_rate_hz
    assert exam.ecg.resolution_mv == pytest.approx((0.005,) * 12)
    assert exam.patient == PatientRef("ZZCANARY-4711", "urn:oid:1.2.3")
    assert (exam.acquired, exam.ecg.start) == (WHEN, WHEN)


def test_what_has_no_ecg_is_ordinary():
    assert read({"resourceType": "Patient"}) == ()
    assert read(observation(None, valueQuantity={"value": 60})) == ()
    assert read({"resourceType": "Bundle", "type": "batch"}) == ()


def test_twelve_observations_of_one_time_are_one_ecg():
    parts = [one_lead(lead, [n, n + 1]) for n, lead in enumerate(LEADS_12)]
    (exam,) = read(bundle(*parts))
    assert exam.ecg.leads == LEADS_12
    assert np.allclose(exam.ecg.voltage_mv[:, 1], np.arange(1, 13) * 0.005)


@pytest.mark.parametrize("tie", ["hasMember", "derivedFrom"])
def test_observations_that_are_tied_are_one_ecg(tie):
    parts = [one_lead(lead, "1 2", effectiveDateTime="2026-03-01") for lead in ("I", "II")]
    panel = observation(None, **{tie: [{"reference": full_url(n)} for n in (0, 1)]})
    (exam,) = read(bundle(*parts, panel))
    assert exam.ecg.leads == ("I", "II")


def test_a_report_ties_its_results():
    parts = [one_lead(lead, "1 2", effectiveDateTime=None) for lead in ("I", "II")]
    results = [{"reference": full_url(n)} for n in (0, 1)]
    report = {"resourceType": "DiagnosticReport", "result": results}
    assert len(read(bundle(*parts, report))) == 1
    assert len(read(bundle(*parts))) == 2  # nothing says that they belong together


def test_nothing_is_joined_across_times_or_patients():
    later = one_lead("II", "1 2", effectiveDateTime="2026-03-01T08:30:25+01:00")
    other = one_lead("V1", "1 2", subject={"identifier": {"value": "ZZCANARY-2"}})
    exams = read(bundle(one_lead("I", "1 2"), later, other))
    assert [exam.ecg.leads for exam in exams] == [("I",), ("II",), ("V1",)]


def test_a_rhythm_and_its_median_beat_stay_apart():
    two = [observation([component("I", data), component("II", data)]) for data in ("1 2", "3 4")]
    assert len(read(bundle(*two))) == 2


def test_the_patient_of_the_bundle():
    patient = {"resourceType": "Patient", "identifier": [{"value": "ZZCANARY-9"}]}
    ecg = observation([component("I", "1")], subject={"reference": full_url(0)})
    (exam,) = read(bundle(patient, ecg))
    assert exam.patient == PatientRef("ZZCANARY-9")


BAD = [
    (observation([component("I", "1")], subject=None), "patient-missing", "Observation.subject"),
    (
        observation([component("I", "1"), component("II", "1 2")]),
        "lengths-differ",
        "Observation.component[1].valueSampledData",
    ),
    (
        observation([component("I", "1"), component("II", "1", period=4)]),
        "rate-conflict",
        "Observation.component[1].valueSampledData",
    ),
    (
        observation([component("I", "1", period=500)]),
        "rate-out-of-range",
        "Observation.component[0].valueSampledData",
    ),
    (
        bundle(*(one_lead(lead, "1 2") for lead in ("I", "II", "II"))),
        "lead-duplicate",
        "Bundle.entry[2].resource.valueSampledData",
    ),
    (
        bundle(
            one_lead("I", "1"),
            one_lead("II", "1", subject={"identifier": {"value": "ZZCANARY-2"}}),
            observation(None, hasMember=[{"reference": full_url(n)} for n in (0, 1)]),
        ),
        "patient-disagrees",
        "Bundle.entry[1].resource.subject",
    ),
    (observation("leads"), "field-malformed", "Observation.component"),
    (observation([{"valueSampledData": 5}]), "field-malformed", None),
    (bundle(*(one_lead("I", "1", effectiveDateTime=None) for _ in range(257))),
     "waveform-unsupported", ""),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "reason", "place"), BAD)
def test_refused(resource, reason, place):
    found = refused(resource)
    assert found[0] == reason
    assert place is None or found[1] == place


def test_units_hold_what_is_tied():
    parts = [one_lead(lead, "1 2") for lead in ("I", "II")]
    pulse = observation(None, valueQuantity={"value": 60})
    resources = resources_of(bundle(*parts, {"resourceType": "Patient"}, pulse))
    found = [[e.resource.path for e in unit] for unit in units_of(resources)]
    assert found == [
        ["Bundle.entry[0].resource", "Bundle.entry[1].resource"],
        ["Bundle.entry[3].resource"],
    ]


SAMPLE = "messages/fhir/fhir-r4-examples/observation-example-sample-data.json"
# File; what becomes of it. The EKG example refers to a Patient that is not in it.
TABLE = [
    (SAMPLE, ("patient-missing", "Observation.subject")),
    ("formats/fhir/observation-example-sample-data.json",
     ("patient-missing", "Observation.subject")),
    ("messages/fhir/us-core-ekg/media-ekg-strip.json", ()),  # a picture
    ("messages/fhir/us-core-ekg/ekg-lead.json", ()),
    ("messages/fhir/us-core-ekg/DiagnosticReport-cardiology-report.json", ()),
    ("messages/fhir/fhir-r4-examples/observation-example-heart-rate.json", ()),
    ("messages/fhir/fhir-r4-examples/media-example.json", ()),
    ("messages/fhir/fhir-r4-examples/media-example-dicom.json", ()),
    ("messages/fhir/fhir-r4-examples/documentreference-example.json", ()),
    ("messages/fhir/fhir-r4-examples/binary-example.json", ()),
    ("messages/fhir/fhir-r4-examples/diagnosticreport-examples-general.json", ()),
    ("messages/fhir/fhir-r4-examples/patient-examples-general.json", ()),
]  # fmt: skip


def sample(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"no sample resources: {SHARED / 'messages'} is missing; set ECG_DATA")
    return orjson.loads((SHARED / name).read_bytes())


@pytest.mark.parametrize(("name", "expected"), TABLE, ids=lambda value: str(value)[-40:])
def test_samples(name, expected):
    resource = sample(name)
    assert (refused(resource) if expected else read(resource)) == expected


def test_no_example_of_the_specification_breaks_us():
    sample(SAMPLE)
    for path in sorted((SHARED / "messages/fhir/fhir-r4-examples").glob("*.json")):
        try:
            decode(path.read_bytes())
        except Refused as refusal:
            told = refusal.reason
            assert told in {"patient-missing", "document-malformed"}, path.name


def test_the_specifications_ekg_example_with_its_patient():
    patient = {"resourceType": "Patient", "id": "f001", "identifier": [{"value": "ZZCANARY"}]}
    (exam,) = read(bundle(sample(SAMPLE), patient))
    assert exam.ecg.leads == ("I", "II", "III")
    assert exam.ecg.sampling_rate_hz == 100
    # (2041 - 2048) * 1.612 uV and on; its limits, -3300 and 3300, are 2048 steps.
    expected_mv = [-0.011284, -0.00806, -0.017732]
    assert exam.ecg.lead("I")[:3].tolist() == pytest.approx(expected_mv, abs=1e-6)
    assert exam.acquired == datetime(2015, 2, 19, 9, 30, 35, tzinfo=timezone(timedelta(hours=1)))
