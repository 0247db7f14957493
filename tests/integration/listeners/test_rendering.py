"""Which form a client wants, and which one it has."""

import pytest

from integration.fhir.reading import FHIR_JSON, FHIR_XML
from integration.listeners.rendering import (
    asks_for_a_resource,
    body_format,
    entity_tag,
    is_known,
    outcome_response,
    wanted_format,
)


def scope(query="", **headers):
    named = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "query_string": query.encode(), "headers": named}


@pytest.mark.parametrize(
    ("content_type", "format_"),
    [
        ("application/fhir+json", FHIR_JSON),
        ("Application/FHIR+JSON; charset=UTF-8", FHIR_JSON),
        ("application/json;fhirVersion=4.3", FHIR_JSON),
        ('application/fhir+xml; fhirVersion="5.0"', FHIR_XML),
        ("application/xml", FHIR_XML),
        ("application/fhir+json; fhirVersion=1.0", None),
        ("text/xml", None),
        ("json", None),
        ("", None),
    ],
)
def test_bodies(content_type, format_):
    assert body_format(content_type) == format_


@pytest.mark.parametrize(
    ("accept", "query", "format_"),
    [
        (None, "", FHIR_JSON),
        ("*/*", "", FHIR_JSON),
        ("application/fhir+xml", "", FHIR_XML),
        ("application/fhir+json;q=0.5, application/fhir+xml", "", FHIR_XML),
        ("application/fhir+json, application/fhir+xml", "", FHIR_JSON),
        ("application/fhir+xml;q=x, application/json", "", FHIR_JSON),
        ("text/html;q=0.9, text/xml;q=0.1", "", FHIR_XML),
        ("text/html", "", None),
        ("json", "", None),
        ("application/fhir+json", "_format=xml", FHIR_XML),
        ("text/html", "_format=application/fhir+xml", FHIR_XML),
        ("text/html", "_format=application/fhir%2Bxml;%20fhirVersion=4.0", FHIR_XML),
        ("*/*", "_format=csv", None),
    ],
)
def test_wanted(accept, query, format_):
    assert wanted_format(scope(query, **({"accept": accept} if accept else {}))) == format_


@pytest.mark.parametrize(
    ("accept", "query", "asks"),
    [
        ("*/*", "", False),
        ("application/pdf", "", False),
        ("application/fhir+json", "", True),
        ("*/*", "_format=json", True),
    ],
)
def test_a_binary_as_a_resource(accept, query, asks):
    assert asks_for_a_resource(scope(query, accept=accept)) == asks


def test_an_error_is_told_as_json_to_who_wants_something_else():
    answer = outcome_response(
        scope(accept="text/html"), 406, "not-supported", "x", {"Allow": "GET"}
    )
    assert (answer.status_code, answer.media_type, answer.headers["allow"]) == (
        *(406, FHIR_JSON),
        "GET",
    )
    assert answer.headers["cache-control"] == "no-store"


def test_tags():
    assert entity_tag({"meta": {"versionId": "3"}, "status": "final"}) == 'W/"3"'
    plain, other = entity_tag({"status": "final"}), entity_tag({"status": "amended"})
    assert plain != other
    assert entity_tag({"meta": {"versionId": '"\r\n'}}).isprintable()
    assert is_known(scope(if_none_match=f'"a", {plain}'), plain)
    assert is_known(scope(if_none_match="*"), plain)
    assert not is_known(scope(if_none_match=other), plain)
    assert not is_known(scope(), plain)
