"""The report against fhir.resources and against what fhir.resources does not look at."""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st

from db.records import PatientRef
from integration.fhir.report import attach_page, build_report
from model.findings import ABNORMALITY_TYPES, TypeFinding

SNOMED = "http://snomed.info/sct"
AIAST = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
# R4 target types of the references we use; bindings and targets are what fhir.resources skips.
TARGETS = {
    "DiagnosticReport.subject": {"Patient"},
    "DiagnosticReport.basedOn": {"ServiceRequest"},
    "DiagnosticReport.result": {"Observation"},
    "Observation.subject": {"Patient"},
    "Observation.device": {"Device"},
    "Provenance.target": {"DiagnosticReport", "Observation"},
}


def resources(bundle, kind):
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def report_of(bundle):
    (report,) = resources(bundle, "DiagnosticReport")
    return report


def observation(bundle, slug):
    (found,) = [o for o in resources(bundle, "Observation") if o["id"].endswith(f"-{slug}")]
    return found


def snomed(bundle):
    concepts = report_of(bundle).get("conclusionCode", [])
    return [c["code"] for concept in concepts for c in concept["coding"] if c["system"] == SNOMED]


def walk(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


@pytest.fixture
def any_bundle(exam, any_findings, issued):
    return build_report(exam, any_findings, issued=issued)


@pytest.fixture
def bundle_of(exam, findings_of, issued):
    return lambda kind: build_report(exam, findings_of(kind), issued=issued)


def test_every_bundle_is_valid_r4(any_bundle):
    read = Bundle.model_validate_json(json.dumps(any_bundle))
    # Nothing is dropped or renamed on the way through the model.
    assert json.loads(read.model_dump_json()) == json.loads(
        json.dumps(any_bundle).replace(".250+00:00", ".250000Z").replace("15.000-05", "15-05")
    )


def test_same_input_same_bytes(exam, any_findings, issued):
    first, second = (json.dumps(build_report(exam, any_findings, issued=issued)) for _ in "ab")
    assert first == second


def test_references_resolve_and_point_at_allowed_types(any_bundle):
    kinds = {e["fullUrl"]: e["resource"]["resourceType"] for e in any_bundle["entry"]}
    assert len(kinds) == len(any_bundle["entry"])
    for entry in any_bundle["entry"]:
        for name, value in entry["resource"].items():
            allowed = TARGETS.get(f"{entry['resource']['resourceType']}.{name}")
            for node in walk(value):
                if "reference" in node:
                    assert node["reference"] in kinds
                if allowed and ("reference" in node or "identifier" in node):
                    kind = kinds[node["reference"]] if "reference" in node else node["type"]
                    assert kind in allowed


def test_results_of_the_report_are_all_observations(any_bundle, any_findings):
    urls = [
        e["fullUrl"] for e in any_bundle["entry"] if e["resource"]["resourceType"] == "Observation"
    ]
    assert [r["reference"] for r in report_of(any_bundle)["result"]] == urls
    slugs = [o["id"][37:] for o in resources(any_bundle, "Observation")]
    of_strip = ["heart-rate", "rhythm", "beats"] if any_findings.strip else []
    assert slugs == ["anomaly", "mi", "sttc", "cd", "hyp", "arr", "quality", *of_strip]


def test_every_entry_is_a_conditional_create(any_bundle, any_findings, exam):
    conditions = []
    for entry in any_bundle["entry"]:
        resource = entry["resource"]
        assert entry["request"]["method"] == "POST"
        assert entry["request"]["url"] == resource["resourceType"]
        condition = entry["request"]["ifNoneExist"]
        conditions.append((resource["resourceType"], condition))
        parameter, token = condition.split("=", 1)
        system, value = token.split("|")
        if parameter == "_tag":
            assert resource["meta"]["tag"] == [{"system": system, "code": value}]
        else:
            key = resource["identifier"][0]
            assert (key["system"], key["value"]) == (system, value)
    assert len(set(conditions)) == len(conditions)
    assert ("DiagnosticReport", f"identifier=urn:hisbundle:id|{exam.id}") in conditions
    model = f"identifier=urn:hisbundle:model|{any_findings.model.sha256}"
    assert ("Device", model) in conditions


def test_everything_said_of_the_heart_is_labelled_as_ai(any_bundle):
    for kind in ("DiagnosticReport", "Observation"):
        for resource in resources(any_bundle, kind):
            assert AIAST in resource["meta"]["security"]
            assert resource["status"] == "preliminary"
    report = report_of(any_bundle)
    labelled = [report["_conclusion"], *report.get("conclusionCode", [])]
    for element in labelled:
        (label,) = element["extension"]
        assert label["url"].endswith("extension-inline-sec-label")
        assert label["valueCoding"] == AIAST
    assert "PROCESSINLINELABEL" in [c["code"] for c in report["meta"]["security"]]
    assert report["conclusion"].startswith("AI-generated, not yet reviewed by a clinician.")


def test_report_is_a_cardiology_ekg_study_of_this_patient_and_order(bundle_of):
    report = report_of(bundle_of("flagged"))
    assert [c["coding"][0]["code"] for c in report["category"]] == ["LP29708-2", "EC"]
    assert report["code"]["coding"][0]["code"] == "11524-6"
    assert report["subject"] == {
        "type": "Patient",
        "identifier": {"value": "MRN-4711", "assigner": {"display": "ST-ELSEWHERE"}},
    }
    assert report["effectiveDateTime"] == "2026-03-01T08:30:15.000-05:00"
    assert report["issued"] == "2026-03-01T13:31:02.250+00:00"
    orders = [order["identifier"] for order in report["basedOn"]]
    found = [(order["type"]["coding"][0]["code"], order["value"]) for order in orders]
    assert found == [("PLAC", "PLACER-1"), ("FILL", "FILLER-2")]


def test_nobody_is_named_as_performer_or_interpreter(any_bundle):
    assert not {"performer", "resultsInterpreter"} & report_of(any_bundle).keys()


@pytest.mark.parametrize(
    ("authority", "identifier"),
    [
        (None, {"value": "7"}),
        ("urn:oid:1.2.36.146", {"system": "urn:oid:1.2.36.146", "value": "7"}),
        ("https://ids.example/mrn", {"system": "https://ids.example/mrn", "value": "7"}),
        ("WARD", {"value": "7", "assigner": {"display": "WARD"}}),
    ],
)
def test_authority_is_a_system_only_where_it_is_a_uri(
    exam, findings_of, issued, authority, identifier
):
    bundle = build_report(
        replace(exam, patient=PatientRef("7", authority)), findings_of("unflagged"), issued=issued
    )
    assert report_of(bundle)["subject"]["identifier"] == identifier


@pytest.mark.parametrize(
    ("acquired", "elements"),
    [
        (date(2026, 3, 1), {"effectiveDateTime": "2026-03-01"}),
        (
            datetime(2026, 3, 1, 8, tzinfo=timezone(timedelta(hours=15))),
            {"effectiveDateTime": "2026-02-28T17:00:00.000+00:00"},
        ),
        (
            datetime(1890, 3, 1, 8, tzinfo=timezone(timedelta(minutes=53, seconds=28))),
            {"effectiveDateTime": "1890-03-01T07:06:32.000+00:00"},
        ),
        (
            None,
            {
                "_effectiveDateTime": {
                    "extension": [
                        {
                            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
                            "valueCode": "unknown",
                        }
                    ]
                }
            },
        ),
    ],
)
def test_time_of_acquisition_as_far_as_it_is_known(exam, findings_of, issued, acquired, elements):
    bundle = build_report(replace(exam, acquired=acquired), findings_of("unflagged"), issued=issued)
    Bundle.model_validate(bundle)
    for resource in (report_of(bundle), observation(bundle, "mi")):
        assert {k: v for k, v in resource.items() if "effective" in k} == elements


def test_no_order_no_based_on(exam, findings_of, issued):
    bare = replace(exam, placer_order=None, filler_order=None)
    assert "basedOn" not in report_of(build_report(bare, findings_of("flagged"), issued=issued))


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        # Hypertrophy is flagged too; no code of the table says just that.
        ("flagged", ["102594003", "164865005", "428750005"]),
        ("unflagged", []),
        ("anomalous", ["102594003"]),
        ("limited", ["102594003"]),
        ("unscorable", []),
    ],
)
def test_snomed_codes_only_where_justified(bundle_of, kind, codes):
    assert snomed(bundle_of(kind)) == codes


def test_a_flagged_type_shows_probability_threshold_and_where_the_model_looked(bundle_of):
    mi = observation(bundle_of("flagged"), "mi")
    unit = {"unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}
    assert mi["valueQuantity"] == {"value": 0.91, **unit}
    assert mi["interpretation"][0]["coding"][0]["code"] == "POS"
    assert mi["referenceRange"] == [
        {"high": {"value": 0.5, **unit}, "text": "flagged at or above 0.5"}
    ]
    stretches = [
        (
            c["code"]["coding"][0]["code"],
            c["valueRange"]["low"]["value"],
            c["valueRange"]["high"]["value"],
        )
        for c in mi["component"]
    ]
    assert stretches == [("interval-V2", 3.12, 3.52), ("interval-V5", 7.04, 7.36)]


def test_quality_names_the_leads_by_their_mdc_codes(bundle_of):
    quality = observation(bundle_of("limited"), "quality")
    assert quality["valueCodeableConcept"]["coding"][0]["code"] == "limited"
    found = [
        (c["code"]["coding"][0]["code"], c["valueCodeableConcept"]["coding"][0]["code"])
        for c in quality["component"]
    ]
    assert found == [("131075", "noise"), ("131076", "flat-line")]


def test_unscorable_has_reasons_instead_of_values(bundle_of):
    bundle = bundle_of("unscorable")
    for slug in ("anomaly", *(code.lower() for code in ABNORMALITY_TYPES)):
        found = observation(bundle, slug)
        assert found["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
        assert not {"valueQuantity", "interpretation", "referenceRange"} & found.keys()
    quality = observation(bundle, "quality")
    reasons = [c["valueCodeableConcept"]["coding"][0]["code"] for c in quality["component"]]
    assert reasons == ["too-few-leads", "no-qrs", "lead-off"]


def test_nothing_says_normal(any_bundle):
    report = report_of(any_bundle)
    # "normal ECGs" is what an ECG is compared with, never what it is called.
    assert "normal" not in report["conclusion"].replace("normal ECGs", "").replace("abnormal", "")
    codes = {n.get("code") for n in walk(any_bundle) if isinstance(n.get("code"), str)}
    assert not codes & {"164854000", "426783006", "N"}


def test_device_is_the_model_and_provenance_says_who_and_from_what(bundle_of, exam):
    bundle = bundle_of("flagged")
    (device,) = resources(bundle, "Device")
    assert device["type"]["coding"][0]["code"] == "Artificial-Intelligence"
    assert device["version"] == [{"value": "1.2.0"}]
    assert device["deviceName"] == [{"name": "resting-12", "type": "model-name"}]
    (provenance,) = resources(bundle, "Provenance")
    urls = {e["resource"]["id"]: e["fullUrl"] for e in bundle["entry"]}
    assert provenance["agent"][0]["who"]["reference"] == urls[device["id"]]
    assert provenance["reason"] == [{"coding": [AIAST]}]
    assert provenance["entity"][0]["what"]["identifier"]["value"] == str(exam.message_id)
    targets = {t["reference"] for t in provenance["target"]}
    assert targets == set(urls.values()) - {urls[device["id"]], urls[provenance["id"]]}


def test_presented_form_is_the_page_with_size_hash_and_no_patient(any_bundle, any_findings):
    form, _ = report_of(any_bundle)["presentedForm"]
    data = base64.b64decode(form["data"])
    assert form["contentType"] == "text/plain"
    assert form["size"] == len(data)
    assert form["hash"] == base64.b64encode(hashlib.sha1(data).digest()).decode()  # noqa: S324
    text = data.decode()
    assert report_of(any_bundle)["conclusion"] in text
    assert f"{any_findings.model.name} {any_findings.model.version}" in text
    assert "MRN-4711" not in text


def test_patient_appears_as_subject_only(any_bundle):
    for resource in (e["resource"] for e in any_bundle["entry"]):
        rest = {k: v for k, v in resource.items() if k != "subject"}
        assert "MRN-4711" not in json.dumps(rest)


@given(
    probability=st.floats(0, 1),
    threshold=st.floats(0.001, 1),
    microsecond=st.integers(0, 999_999),
)
def test_interpretation_agrees_with_the_numbers_beside_it(
    exam, findings_of, probability, threshold, microsecond
):
    types = tuple(TypeFinding(c, probability, threshold) for c in ABNORMALITY_TYPES)
    findings = replace(findings_of("unflagged"), types=types)
    issued = datetime(2026, 3, 1, microsecond=microsecond, tzinfo=UTC)
    bundle = build_report(exam, findings, issued=issued)
    Bundle.model_validate(bundle)
    found = observation(bundle, "arr")
    positive = found["interpretation"][0]["coding"][0]["code"] == "POS"
    assert positive == (
        found["valueQuantity"]["value"] >= found["referenceRange"][0]["high"]["value"]
    )


def test_each_observation_names_the_model_that_made_it(bundle_of):
    bundle = bundle_of("rhythm")
    devices = {e["fullUrl"]: e["resource"] for e in bundle["entry"]}
    made_by = {
        o["id"][37:]: devices[o["device"]["reference"]]["deviceName"][0]["name"]
        for o in resources(bundle, "Observation")
    }
    assert {slug for slug, name in made_by.items() if name == "strip"} == {
        "heart-rate",
        "rhythm",
        "beats",
    }
    (provenance,) = resources(bundle, "Provenance")
    assert len({agent["who"]["reference"] for agent in provenance["agent"]}) == 2


def test_a_strip_alone_has_one_device_and_says_that_the_types_were_not_assessed(bundle_of):
    bundle = bundle_of("strip")
    assert len(resources(bundle, "Device")) == 1
    for slug in ("mi", "sttc", "cd", "hyp", "arr", "anomaly"):
        assert observation(bundle, slug)["dataAbsentReason"]["coding"][0]["code"] == "not-performed"


def test_rhythm_findings_make_the_ecg_abnormal_and_no_more_than_was_found(bundle_of):
    assert snomed(bundle_of("strip")) == ["102594003", "426627000"]
    assert snomed(bundle_of("plain-rhythm")) == []


def test_the_pdf_is_told_by_its_place_until_it_is_sent(any_bundle, exam):
    _, form = report_of(any_bundle)["presentedForm"]
    assert (form["contentType"], form["url"]) == ("application/pdf", f"Binary/{exam.id}")
    sent = attach_page(any_bundle, b"%PDF-")
    assert [e["fullUrl"] for e in sent["entry"]] == [e["fullUrl"] for e in any_bundle["entry"]]
    text, page = report_of(sent)["presentedForm"]
    assert text == report_of(any_bundle)["presentedForm"][0]
    assert "url" not in page
    assert base64.b64decode(page["data"]) == b"%PDF-"
    assert page["size"] == 5
    assert page["hash"] == base64.b64encode(hashlib.sha1(b"%PDF-").digest()).decode()  # noqa: S324
    assert "data" not in form  # what is stored stays as it was
    Bundle.model_validate_json(json.dumps(sent))
