import base64
from dataclasses import replace

import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.documentreference import DocumentReference

from integration.errors import Refused
from integration.fhir.profiles import condition_of, document, identifier_of, millennium_report
from integration.fhir.report import attach_page, build_report

PAGE = b"%PDF-1.7 a page"
ID = "11111111-2222-5333-8444-555555555555"


@pytest.fixture
def bundle(exam, findings_of, issued):
    return attach_page(build_report(exam, findings_of("flagged"), issued=issued), PAGE)


def amended(bundle, status):
    """The bundle as a later version of the same report would go."""
    entries = []
    for entry in bundle["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] == "DiagnosticReport":
            url = f"DiagnosticReport?identifier=urn:hisbundle:id|{ID}"
            request = {"method": "PUT", "url": url}
            entries.append({"resource": resource | {"status": status}, "request": request})
        else:
            entries.append(entry)
    return bundle | {"entry": entries}


def test_a_document_shows_the_page_and_says_whose_it_is(bundle):
    entry = document(bundle)
    made = entry["resource"]
    DocumentReference.model_validate(made)
    assert entry["request"] == {
        "method": "POST",
        "url": "DocumentReference",
        "ifNoneExist": f"identifier=urn:hisbundle:id|{ID}",
    }
    assert (made["status"], made["docStatus"]) == ("current", "preliminary")
    assert made["subject"]["identifier"]["value"] == "MRN-4711"
    assert made["meta"]["security"][0]["code"] == "AIAST"
    assert made["contained"][0]["deviceName"][0]["name"] == "resting-12"
    assert made["context"] == {"period": {"start": "2026-03-01T08:30:15.000-05:00"}}
    forms = [content["attachment"] for content in made["content"]]
    assert [form["contentType"] for form in forms] == ["text/plain", "application/pdf"]
    assert base64.b64decode(forms[1]["data"]) == PAGE


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ("final", ("current", "final")),
        ("amended", ("current", "amended")),
        ("corrected", ("current", "amended")),
        ("entered-in-error", ("entered-in-error", None)),
    ],
)
def test_later_versions_of_a_document_replace_it(bundle, status, shown):
    entry = document(amended(bundle, status))
    url = f"DocumentReference?identifier=urn:hisbundle:id|{ID}"
    assert entry["request"] == {"method": "PUT", "url": url}
    DocumentReference.model_validate(entry["resource"])
    assert (entry["resource"]["status"], entry["resource"].get("docStatus")) == shown


def test_millennium_gets_what_it_documents_and_no_more(bundle):
    made = millennium_report(bundle, "Practitioner/593923")["resource"]
    DiagnosticReport.model_validate(made)
    assert set(made) == {
        *("resourceType", "identifier", "status", "category", "code", "subject"),
        *("effectiveDateTime", "issued", "presentedForm", "resultsInterpreter"),
    }
    assert [c["coding"][0]["code"] for c in made["category"]] == ["LP29708-2"]
    assert made["resultsInterpreter"] == [{"reference": "Practitioner/593923"}]
    kinds = {form["contentType"] for form in made["presentedForm"]}
    assert kinds == {"text/plain", "application/pdf"}
    assert "resultsInterpreter" not in millennium_report(bundle, None)["resource"]


@pytest.mark.parametrize(
    ("who", "charted"),
    [
        ({"reference": "Practitioner/12", "display": "Dr. House"}, "Practitioner/12"),
        ({"reference": "https://ehr.example/fhir/Practitioner/12"}, "Practitioner/593923"),
        ({"identifier": {"value": "7"}}, "Practitioner/593923"),
    ],
)
def test_millennium_charts_in_the_name_of_who_decided(bundle, who, charted):
    decided = bundle | {"entry": [e | {"resource": dict(e["resource"])} for e in bundle["entry"]]}
    decided["entry"][0]["resource"]["resultsInterpreter"] = [who]
    made = millennium_report(decided, "Practitioner/593923")["resource"]
    assert made["resultsInterpreter"] == [{"reference": charted}]


@pytest.mark.parametrize("acquired", ["date", None])
def test_millennium_does_not_get_a_date_without_a_time(exam, findings_of, issued, acquired):
    moment = exam.acquired.date() if acquired else None
    bundle = build_report(replace(exam, acquired=moment), findings_of("flagged"), issued=issued)
    with pytest.raises(Refused, match="report-unsuitable"):
        millennium_report(bundle, None)


@pytest.mark.parametrize(
    ("identifier", "told"),
    [
        ({"value": "1", "system": "urn:oid:1.2"}, "urn:oid:1.2|1"),
        ({"value": "1", "assigner": {"display": "HOSP"}}, "urn:oid:9|1"),
        ({"value": r"1,2|3\$4", "system": "urn:x"}, r"urn:x|1\,2\|3\\\$4"),
    ],
)
def test_a_patient_is_looked_up_by_system_and_value(identifier, told):
    assert identifier_of({"identifier": identifier}, {"HOSP": "urn:oid:9"}) == told


@pytest.mark.parametrize(
    "identifier", [{"value": "1"}, {"value": "1", "assigner": {"display": "X"}}]
)
def test_a_number_alone_is_nobody(identifier):
    with pytest.raises(Refused, match="patient-system-unknown"):
        identifier_of({"identifier": identifier}, {"HOSP": "urn:oid:9"})


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "POST", "url": "Device", "ifNoneExist": "identifier=urn:x|a b&_tag=c|d"},
        {"method": "PUT", "url": "Device?identifier=urn:x|a b&_tag=c|d"},
    ],
)
def test_a_condition_is_written_as_a_query(request_):
    assert condition_of({"request": request_}) == "identifier=urn%3Ax%7Ca%20b&_tag=c%7Cd"
