"""What is cut out of a stored Bundle, and what is said of it."""

from copy import deepcopy
from datetime import UTC, datetime

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome

from db.records import StoredReport
from integration.fhir.reading import capabilities, outcome, resources_of, searchset
from integration.fhir.report import build_report
from integration.fhir.search import Query, parse_query

BASE = "http://127.0.0.1:8080/fhir"


@pytest.fixture
def report(exam, any_findings, issued):
    bundle = build_report(exam, any_findings, issued=issued)
    return StoredReport(exam.id, datetime(2026, 3, 1, tzinfo=UTC), bundle)


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("reference"), str):
            yield node["reference"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_resource_is_cut_out_and_refers_to_the_others(report):
    found = resources_of(report)
    assert len(found) == len(report.bundle["entry"])
    for (kind, id_), resource in found.items():
        get_fhir_model_class(kind).model_validate(resource)
        assert (resource["resourceType"], resource["id"]) == (kind, id_)
        for reference in references(resource):
            assert tuple(reference.split("/")) in found
    (first, *_) = found
    assert first == ("DiagnosticReport", str(report.exam_id))


def test_stored_bundle_stays_as_it_was(report):
    before = deepcopy(report.bundle)
    resources_of(report)
    assert report.bundle == before


def test_page_with_the_results(report):
    query = parse_query([("patient", "A|1"), ("_include", "DiagnosticReport:result")])
    bundle = searchset(BASE, query, 1, [report])
    Bundle.model_validate(bundle)
    modes = [entry["search"]["mode"] for entry in bundle["entry"]]
    results = bundle["entry"][0]["resource"]["result"]
    assert modes == ["match"] + ["include"] * len(results)
    assert bundle["entry"][0]["fullUrl"] == f"{BASE}/DiagnosticReport/{report.exam_id}"
    assert bundle["link"] == [
        {
            "relation": "self",
            "url": f"{BASE}/DiagnosticReport?patient=A%7C1"
            "&_include=DiagnosticReport%3Aresult&_count=50&_offset=0",
        }
    ]


def test_page_without_the_results(report):
    bundle = searchset(BASE, Query(), 1, [report])
    assert [e["resource"]["resourceType"] for e in bundle["entry"]] == ["DiagnosticReport"]


@pytest.mark.parametrize(
    ("offset", "count", "total", "following"),
    [(0, 1, 3, "_count=1&_offset=1"), (1, 1, 3, "_count=1&_offset=2"), (2, 1, 3, None)],
)
def test_next_link_until_the_end(report, offset, count, total, following):
    bundle = searchset(BASE, Query(offset=offset, count=count), total, [report])
    links = {link["relation"]: link["url"] for link in bundle["link"]}
    assert links.get("next") == (following and f"{BASE}/DiagnosticReport?{following}")


def test_empty_page():
    bundle = searchset(BASE, Query(count=0), 3, [])
    Bundle.model_validate(bundle)
    assert bundle["total"] == 3
    assert "entry" not in bundle
    assert [link["relation"] for link in bundle["link"]] == ["self"]


def test_outcome_is_valid():
    OperationOutcome.model_validate(outcome("not-found", "nothing here"))


def test_capabilities_are_valid_and_true():
    statement = capabilities(BASE)
    CapabilityStatement.model_validate(statement)
    (rest,) = statement["rest"]
    interactions = {
        resource["type"]: [i["code"] for i in resource["interaction"]]
        for resource in rest["resource"]
    }
    assert interactions == {
        "DiagnosticReport": ["read", "vread", "history-instance", "search-type"],
        "Observation": ["read"],
        "Device": ["read"],
        "Provenance": ["read"],
        "Communication": ["read"],
        "Binary": ["read"],
    }
    # Every parameter that is told is understood.
    examples = {"_id": "x", "identifier": "x", "patient": "x", "date": "2026"}
    told = [parameter["name"] for parameter in rest["resource"][0]["searchParam"]]
    assert told == list(examples)
    parse_query(examples.items())
    parse_query([("_include", value) for value in rest["resource"][0]["searchInclude"]])


def test_decisions_are_told_where_they_are_taken():
    statement = capabilities(BASE, takes_decisions=True)
    CapabilityStatement.model_validate(statement)
    reports, *_, definitions = statement["rest"][0]["resource"]
    definition = f"{BASE}/OperationDefinition/report-confirm"
    assert reports["operation"] == [{"name": "confirm", "definition": definition}]
    assert definitions["type"] == "OperationDefinition"
