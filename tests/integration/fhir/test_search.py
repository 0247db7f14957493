"""Search parameters to what is asked of the store."""

from dataclasses import fields
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Refused
from integration.fhir.search import Query, exam_id_in, parse_query

EXAM = "11111111-2222-5333-8444-555555555555"


def asked(*pairs):
    """What differs from the search for everything."""
    query = parse_query(pairs)
    return {
        f.name: getattr(query, f.name)
        for f in fields(Query)
        if f.name != "parameters" and getattr(query, f.name) != f.default
    }


@pytest.mark.parametrize(
    "name",
    [
        "patient",
        "patient.identifier",
        "patient:identifier",
        "subject",
        "subject.identifier",
        "subject:identifier",
    ],
)
def test_patient_by_every_name(name):
    assert asked((name, "ADT|4711")) == {"identifier": "4711", "authority": "ADT"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4711", {"identifier": "4711"}),
        ("urn:oid:1.2.3|4711", {"identifier": "4711", "authority": "urn:oid:1.2.3"}),
        (r"ADT|47\|11", {"identifier": "47|11", "authority": "ADT"}),
        (r"47\,11\\", {"identifier": "47,11\\"}),
        ("12/3456", {"identifier": "12/3456"}),
    ],
)
def test_patient_as_written(value, expected):
    assert asked(("patient", value)) == expected


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("_id", EXAM)], {"exam_id": UUID(EXAM)}),
        ([("identifier", EXAM)], {"exam_id": UUID(EXAM)}),
        ([("identifier", f"urn:hisbundle:id|{EXAM}")], {"exam_id": UUID(EXAM)}),
        ([("_id", EXAM), ("identifier", EXAM)], {"exam_id": UUID(EXAM)}),
    ],
)
def test_report_by_identifier(pairs, expected):
    assert asked(*pairs) == expected


@pytest.mark.parametrize(
    "pairs",
    [
        [("identifier", "PLACER-1")],
        [("identifier", f"urn:other|{EXAM}")],
        [("identifier", f"|{EXAM}")],
        [("_id", f"{EXAM}-mi")],
        [("_id", EXAM.replace("-", ""))],
        [("_id", EXAM), ("_id", "22222222-2222-5333-8444-555555555555")],
        [("_id", "x"), ("_id", EXAM)],
        [("patient", "1"), ("patient", "2")],
        [("patient", "A|1"), ("subject", "B|1")],
    ],
)
def test_what_no_report_can_match(pairs):
    assert parse_query(pairs).impossible


def test_patient_asked_twice_alike_keeps_the_authority():
    pairs = [("patient", "A|1"), ("subject", "1")]
    assert asked(*pairs) == asked(*reversed(pairs)) == {"identifier": "1", "authority": "A"}


DAY = date(2026, 2, 28)


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        (["2026-02-28"], DAY, DAY),
        (["eq2026-02-28"], DAY, DAY),
        (["2026-02"], date(2026, 2, 1), DAY),
        (["2024-02"], date(2024, 2, 1), date(2024, 2, 29)),
        (["2026"], date(2026, 1, 1), date(2026, 12, 31)),
        (["ge2026-02-28"], DAY, None),
        (["gt2026-02-28"], date(2026, 3, 1), None),
        (["gt2026"], date(2027, 1, 1), None),
        (["le2026-02-28"], None, DAY),
        (["le2026-02"], None, DAY),
        (["lt2026-02-28"], None, date(2026, 2, 27)),
        (["lt2026"], None, date(2025, 12, 31)),
        (["ge2026-01-01", "lt2026-03"], date(2026, 1, 1), DAY),
        (["ge2026-01-01", "ge2026-02-28", "le2026-03-01", "le2026-02-28"], DAY, DAY),
    ],
)
def test_dates(values, first, last):
    query = parse_query([("date", value) for value in values])
    assert (query.date_from, query.date_to) == (first, last)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("_count", "0"), {"count": 0}),
        (("_count", "999999999"), {"count": 200}),
        (("_offset", "100"), {"offset": 100}),
        (("_include", "DiagnosticReport:result"), {"include_results": True}),
        (("_format", "json"), {}),
    ],
)
def test_paging_and_inclusion(pair, expected):
    assert asked(pair) == expected


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("status", "final"), "parameter-unsupported"),
        (("patient.name", "Roe"), "parameter-unsupported"),
        (("_include", "*"), "parameter-unsupported"),
        (("date:missing", "true"), "parameter-unsupported"),
        (("patient", ""), "parameter-malformed"),
        (("patient", "Patient/1"), "parameter-malformed"),
        (("patient", "https://ehr.example/Patient/1"), "parameter-malformed"),
        (("patient", "|4711"), "parameter-malformed"),
        (("patient", "ADT|"), "parameter-malformed"),
        (("patient", "1,2"), "parameter-malformed"),
        (("patient", "A|1,B|2"), "parameter-malformed"),
        (("patient", "a|b|c"), "parameter-malformed"),
        (("patient", "\\"), "parameter-malformed"),
        (("patient", "4711\0"), "parameter-malformed"),
        (("patient", "4" * 257), "parameter-malformed"),
        (("date", "2026-02-30"), "parameter-malformed"),
        (("date", "0000"), "parameter-malformed"),
        (("date", "2026-13"), "parameter-malformed"),
        (("date", "gt9999"), "parameter-malformed"),
        (("date", "lt0001"), "parameter-malformed"),
        (("date", "ne2026"), "parameter-malformed"),
        (("date", "2026-02-28T10:00:00Z"), "parameter-malformed"),
        (("date", "28.2.2026"), "parameter-malformed"),
        (("date", "२०२६"), "parameter-malformed"),
        (("_count", "-1"), "parameter-malformed"),
        (("_count", "1e3"), "parameter-malformed"),
        (("_offset", "9" * 10), "parameter-malformed"),
    ],
)
def test_what_is_not_understood_is_refused(pair, reason):
    with pytest.raises(Refused) as caught:
        parse_query([pair])
    assert caught.value.reason == reason


def test_faults_do_not_repeat_the_value():
    with pytest.raises(Refused) as caught:
        parse_query([("patient", "ZZCANARY,2")])
    assert "ZZCANARY" not in str(caught.value)
    assert "ZZCANARY" not in repr(parse_query([("patient", "ZZCANARY")]))


@given(st.lists(st.tuples(st.sampled_from(["patient", "date", "_id", "_count"]), st.text())))
def test_any_text_is_read_or_refused(pairs):
    try:
        query = parse_query(pairs)
    except Refused:
        return
    assert 0 <= query.count <= 200


@pytest.mark.parametrize(
    ("logical_id", "found"),
    [
        (EXAM, EXAM),
        (f"{EXAM}-anomaly", EXAM),
        (EXAM.upper().replace("1", "A"), None),
        (EXAM.replace("-", "") + "1234", None),
        ("x", None),
        ("", None),
    ],
)
def test_exam_in_a_logical_id(logical_id, found):
    assert exam_id_in(logical_id) == (UUID(found) if found else None)
