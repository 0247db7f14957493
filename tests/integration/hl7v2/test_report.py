"""The report as ORU^R01: against hl7apy, and what each segment says."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.errors import ConfigError
from integration.fhir.report import build_report
from integration.fhir.revision import revised
from integration.fhir.wording import LABELS
from integration.hl7v2.report import Endpoints, encode_report
from model.findings import EpisodeFinding

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
ENDS = Endpoints("HISBUNDLE", "CARDIO|LAB", "EHR", "HOSP")


@pytest.fixture
def bundle_of(exam, findings_of, issued):
    # As it comes back from the database.
    return lambda kind: json.loads(json.dumps(build_report(exam, findings_of(kind), issued=issued)))


@pytest.fixture
def bundle(exam, any_findings, issued):
    return build_report(exam, any_findings, issued=issued)


def rows(bundle, name=None):
    text = encode_report(bundle, ENDS).raw.decode()
    assert text.endswith("\r")
    segments = [segment.split("|") for segment in text[:-1].split("\r")]
    return [s for s in segments if s[0] == name] if name else segments


def observed(bundle, code):
    (found,) = [o for o in rows(bundle, "OBX") if o[3].split("^")[0] == code]
    return found


def resource(bundle, kind):
    return next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind)


def test_hl7apy_takes_it(bundle):
    text = encode_report(bundle, ENDS).raw.decode()
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
    assert message.msh.msh_9.value == "ORU^R01^ORU_R01"
    assert message.validate()


def test_segments_are_numbered_and_only_printable(bundle):
    found = rows(bundle)
    assert [s[0] for s in found[:3]] == ["MSH", "PID", "OBR"]
    assert [s[1] for s in found[3:]] == [str(n) for n in range(1, len(found) - 2)]
    assert all(s[0] == "OBX" for s in found[3:])
    assert all(character.isprintable() for s in found for field in s for character in field)


def test_envelope_patient_and_order(bundle_of):
    bundle = bundle_of("flagged")
    msh, pid, obr, *_ = rows(bundle)
    assert msh[2:6] == ["HISBUNDLE", "CARDIO\\F\\LAB", "EHR", "HOSP"]
    assert (msh[10], msh[11]) == ("P", "2.5.1")
    assert msh[17] == "UNICODE UTF-8"
    assert pid[3] == "MRN-4711^^^ST-ELSEWHERE"
    assert obr[2] == "PLACER-1"
    assert obr[3] == "11111111-2222-5333-8444-555555555555^HISBUNDLE"
    assert obr[7] == "20260301083015.000-0500"
    assert (obr[24], obr[25]) == ("EC", "P")


@pytest.mark.parametrize(
    ("identifier", "pid"),
    [
        ({"value": "1", "system": "urn:oid:1.2.3"}, "1^^^&1.2.3&ISO"),
        ({"value": "1", "system": "https://x.example/mrn"}, "1^^^https://x.example/mrn"),
        ({"value": "A|1^2"}, "A\\F\\1\\S\\2"),
    ],
)
def test_patient_authority(bundle_of, identifier, pid):
    bundle = bundle_of("flagged")
    resource(bundle, "DiagnosticReport")["subject"]["identifier"] = identifier
    assert rows(bundle, "PID")[0][3] == pid


def test_a_reached_threshold_is_flagged_and_nothing_is_called_normal(bundle_of):
    bundle = bundle_of("flagged")
    mi, cd = observed(bundle, "probability-mi"), observed(bundle, "probability-cd")
    assert (mi[2], mi[5], mi[6], mi[7], mi[8]) == (
        "NM",
        "0.91",
        "1^1^UCUM",
        "flagged at or above 0.5",
        "A",
    )
    assert cd[8] == ""
    stretch = observed(bundle, "interval-V2")
    assert (stretch[2], stretch[5], stretch[6]) == ("NR", "3.12^3.52", "s^s^UCUM")
    assert "N" not in {
        o[8] for kind in ("flagged", "unflagged") for o in rows(bundle_of(kind), "OBX")
    }


def test_what_could_not_be_obtained_has_no_value_and_says_so(bundle_of):
    bundle = bundle_of("unscorable")
    missing = observed(bundle, "probability-mi")
    assert (missing[5], missing[11]) == ("", "X")


def test_rhythm_and_beats_of_a_strip(bundle_of):
    bundle = bundle_of("strip")
    assert observed(bundle, "8867-4")[5:7] == ["72.5", "/min^beats/minute^UCUM"]
    assert observed(bundle, "AF")[5] == "0^6.5"
    assert observed(bundle, "beats")[5] == "10"
    assert observed(bundle, "beats-V")[5] == "2"


def test_ai_label_and_conclusion_are_text(bundle):
    report = resource(bundle, "DiagnosticReport")
    assert observed(bundle, "ai-label")[5].startswith("AI-generated, not yet reviewed")
    lines = [o[5] for o in rows(bundle, "OBX") if o[3].startswith("8601-7^")]
    assert " ".join(lines) == report["conclusion"]
    assert max(map(len, lines)) < 200


def test_a_page_goes_as_ed(bundle_of):
    bundle = bundle_of("flagged")
    assert not [o for o in rows(bundle, "OBX") if o[2] == "ED"]
    form = {"contentType": "application/pdf", "data": "JVBERg=="}
    resource(bundle, "DiagnosticReport")["presentedForm"].append(form)
    (page,) = [o for o in rows(bundle, "OBX") if o[2] == "ED"]
    assert page[5] == "^application^pdf^Base64^JVBERg=="


@pytest.mark.parametrize(
    ("status", "obr", "obx"),
    [
        ("preliminary", "P", "P"),
        ("final", "F", "F"),
        ("amended", "C", "C"),
        ("corrected", "C", "C"),
        ("entered-in-error", "C", "W"),
    ],
)
def test_status(bundle_of, status, obr, obx):
    bundle = bundle_of("flagged")
    resource(bundle, "DiagnosticReport")["status"] = status
    assert rows(bundle, "OBR")[0][25] == obr
    assert {o[11] for o in rows(bundle, "OBX")} == {obx}


def test_same_report_same_message_another_report_another_control_id(bundle_of):
    first, again = (encode_report(bundle_of("flagged"), ENDS) for _ in "ab")
    assert first == again
    amended = copy.deepcopy(bundle_of("flagged"))
    resource(amended, "DiagnosticReport")["status"] = "amended"
    assert encode_report(amended, ENDS).control_id != first.control_id
    assert len(first.control_id) == 20


def test_acquisition_date_alone_or_none(bundle_of):
    bundle = bundle_of("flagged")
    report = resource(bundle, "DiagnosticReport")
    report["effectiveDateTime"] = "2026-03-01"
    assert rows(bundle, "OBR")[0][7] == "20260301"
    del report["effectiveDateTime"]
    assert rows(bundle, "OBR")[0][7] == ""


def test_a_bundle_without_report_is_our_own_fault(bundle_of):
    bundle = bundle_of("flagged")
    bundle["entry"] = bundle["entry"][1:]
    with pytest.raises(ConfigError, match="report-malformed"):
        encode_report(bundle, ENDS)


@pytest.mark.parametrize(
    ("decision", "status", "of_report", "of_results"),
    [
        ("confirm", "final", "F", "F"),
        ("override", "amended", "C", "C"),
        ("override", "corrected", "C", "C"),
        ("reject", "entered-in-error", "C", "W"),
    ],
)
def test_versions_correct_what_was_sent(  # noqa: PLR0917 - a table and two fixtures
    exam, bundle_of, decision, status, of_report, of_results
):
    first = StoredReport(exam.id, NOW, bundle_of("flagged"))
    review = Review(Decision(decision), Reviewer(None, "urn:x", "7", "Dr^A"), NOW, "AF")
    bundle = revised([first], review, ReportStatus(status), NOW)
    before, (after,) = rows(first.bundle, "OBR")[0], rows(bundle, "OBR")
    assert (before[25], after[25]) == ("P", of_report)
    assert (before[3], before[2]) == (after[3], after[2])
    assert after[32] == "7&Dr\\S\\A"
    results = {row[11] for row in rows(bundle, "OBX") if row[5]}
    assert results == {of_results}
    assert observed(bundle, "ai-label")[5] == LABELS[ReportStatus(status)]
    assert encode_report(bundle, ENDS).control_id != encode_report(first.bundle, ENDS).control_id


def test_a_rhythm_that_reached_its_threshold_is_flagged(bundle_of):
    bundle = bundle_of("rhythm")
    assert [observed(bundle, code)[8] for code in ("AF", "bradycardia")] == ["A", "A"]
    assert {o[8] for o in rows(bundle, "OBX") if o[3].startswith("beats")} == {""}


@pytest.mark.parametrize(("critical", "flag"), [((), "A"), (("pause",), "AA")])
def test_an_episode_is_flagged_where_no_rhythm_of_the_ecg_is(
    exam, findings_of, issued, critical, flag
):
    episode = EpisodeFinding("pause", issued, issued, None, 4.2, 3.0)
    findings = replace(findings_of("unscorable"), episode=episode)
    bundle = build_report(exam, findings, issued=issued, critical=critical)
    assert observed(bundle, "pause")[8] == flag


def test_a_critical_finding_stands_out(exam, findings_of, issued):
    bundle = build_report(exam, findings_of("rhythm"), issued=issued, critical=("bradycardia",))
    flagged = [(row[3].split("^")[0], row[5]) for row in rows(bundle, "OBX") if row[8] == "AA"]
    assert [code for code, _ in flagged] == ["bradycardia", "critical"]
    assert flagged[1][1].startswith("Critical finding by AI, not yet reviewed by a clinician")
