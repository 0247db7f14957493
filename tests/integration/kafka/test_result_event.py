import orjson
import pytest
from jsonschema import Draft202012Validator

from integration.fhir.bundle import report_and_results
from integration.fhir.report import build_report
from integration.kafka.result_event import SCHEMA, encode_result

VALIDATOR = Draft202012Validator(orjson.loads(SCHEMA.read_bytes()))


@pytest.fixture
def event_of(exam, issued):
    def encode(findings):
        bundle = build_report(exam, findings, issued=issued)
        event = orjson.loads(encode_result(*report_and_results(bundle)))
        VALIDATOR.validate(event)
        return event

    return encode


def test_every_kind_of_findings_keeps_to_the_schema(event_of, any_findings):
    assert event_of(any_findings)["id"] == "11111111-2222-5333-8444-555555555555"


def test_what_an_event_tells(event_of, findings_of):
    event = event_of(findings_of("rhythm"))
    results = {result["code"]: result for result in event.pop("results")}
    conclusion = event.pop("conclusion")
    assert conclusion.startswith("AI-generated, not yet reviewed by a clinician.")
    assert event.pop("label").startswith("AI-generated")
    assert event == {
        "type": "ecg-result",
        "version": 1,
        "id": "11111111-2222-5333-8444-555555555555",
        "status": "preliminary",
        "issued": "2026-03-01T13:31:02.250+00:00",
        "patient": {"identifier": "MRN-4711", "authority": "ST-ELSEWHERE"},
        "acquired": "2026-03-01T08:30:15.000-05:00",
        "placer_order": "PLACER-1",
        "filler_order": "FILLER-2",
    }
    assert results["probability-mi"] == {
        "code": "probability-mi",
        "system": "urn:hisbundle:observation",
        "name": "Probability of Myocardial infarction",
        "value": 0.03,
        "unit": "1",
        "threshold": "flagged at or above 0.5",
        "flagged": False,
    }
    assert results["8867-4"]["value"] == 72.5
    assert results["8884-9"]["parts"][0]["value"] == [0.0, 6.5]
    assert results["beats"]["value"] == 10


def test_what_reached_its_threshold_is_flagged(event_of, findings_of):
    flagged = {r["code"] for r in event_of(findings_of("flagged"))["results"] if r.get("flagged")}
    assert {"anomaly-score", "probability-mi", "probability-hyp"} <= flagged
    assert "probability-cd" not in flagged


def test_what_could_not_be_analysed_has_no_value_and_is_not_unflagged(event_of, findings_of):
    results = {r["code"]: r for r in event_of(findings_of("unscorable"))["results"]}
    assert "value" not in results["probability-mi"]
    assert "flagged" not in results["probability-mi"]
