"""Versions of a report, also at a server that is not ours."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle

from db.records import StoredReport
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.fhir.client import FhirClient
from integration.fhir.report import build_report
from integration.fhir.revision import revised, sendable
from tests.patience import PATIENCE_S

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
REVIEWER = Reviewer(None, "urn:oid:1.2.3", "7", "Dr. A")
BY = "Dr. A, 2026-03-01 15:00:00+00:00"
AFIB = {"coding": [{"system": "http://snomed.info/sct", "code": "164889003"}]}


def review(decision, text="", codes=()):
    return Review(Decision(decision), REVIEWER, NOW, text, codes)


@pytest.fixture
def first(exam, findings_of, issued):
    own = replace(exam, id=uuid4())
    return StoredReport(own.id, issued, build_report(own, findings_of("flagged"), issued=issued))


def after(former, decided, status):
    """The version that follows."""
    status = ReportStatus(status)
    bundle = revised(former, decided, status, NOW)
    number = former[0].version + 1
    return StoredReport(former[0].exam_id, NOW, bundle, number, status, "ehr", decided)


def resources(version, kind):
    found = [e["resource"] for e in version.bundle["entry"]]
    return [r for r in found if r["resourceType"] == kind]


def report_of(version):
    (report,) = resources(version, "DiagnosticReport")
    return report


def own_words(first):
    return report_of(first)["conclusion"].removeprefix(
        "AI-generated, not yet reviewed by a clinician. "
    )


def text_of(version):
    form = report_of(version)["presentedForm"][0]
    return base64.b64decode(form["data"]).decode()


class TestWhatItSays:
    def test_it_has_no_characters_that_fhir_forbids(self, first):
        amended = after([first], review("override", "Sinus\x0brhythm\x00.\nLow voltage"), "amended")
        assert ": Sinus rhythm .\nLow voltage." in report_of(amended)["conclusion"]

    def test_confirmed_is_final_with_all_that_belongs_to_it(self, first):
        final = after([first], review("confirm"), "final")
        report = report_of(final)
        assert (report["status"], report["issued"]) == ("final", "2026-03-01T15:00:00.000+00:00")
        assert {o["status"] for o in resources(final, "Observation")} == {"final"}
        assert report["resultsInterpreter"] == [
            {
                "type": "Practitioner",
                "identifier": {"system": "urn:oid:1.2.3", "value": "7"},
                "display": "Dr. A",
            }
        ]
        assert report["conclusion"] == (
            f"AI-generated, confirmed by a clinician. Confirmed by {BY}. {own_words(first)}"
        )
        assert report["conclusionCode"] == report_of(first)["conclusionCode"]
        assert [form["title"] for form in report["presentedForm"]] == [
            "ECG analysis by AI, final"
        ] * 2

    def test_the_verifier_has_a_provenance_beside_the_ais(self, first):
        final = after([first], review("confirm"), "final")
        own, decided = resources(final, "Provenance")
        assert [own] == resources(first, "Provenance")
        assert decided["recorded"] == "2026-03-01T15:00:00.000+00:00"
        assert decided["activity"]["coding"][0]["code"] == "confirm"
        verifier, *authors = decided["agent"]
        assert verifier["type"]["coding"][0]["code"] == "verifier"
        assert verifier["who"]["identifier"]["value"] == "7"
        assert authors == own["agent"]
        assert decided["target"] == own["target"]

    def test_overridden_the_clinicians_conclusion_stands_before_the_ais(self, first):
        amended = after([first], review("override", "Sinus rhythm.", (AFIB,)), "amended")
        report = report_of(amended)
        assert report["conclusion"] == (
            "AI-generated, overridden by a clinician. "
            f"Conclusion of {BY}: Sinus rhythm. The AI had said: {own_words(first)}"
        )
        assert report["conclusionCode"] == [AFIB]

    def test_overridden_without_codes_the_ais_do_not_stand_for_it(self, first):
        amended = after([first], review("override", "Sinus rhythm"), "amended")
        assert "conclusionCode" not in report_of(amended)

    def test_rejected_nothing_of_it_is_left_to_be_used(self, first):
        error = after([first], review("reject", "wrong patient"), "entered-in-error")
        report = report_of(error)
        assert report["conclusion"] == (
            "AI-generated, rejected by a clinician: not to be used. "
            f"Rejected by {BY}: wrong patient."
        )
        assert "conclusionCode" not in report
        assert text_of(error).startswith("ECG ANALYSIS BY AI - WITHDRAWN\n")

    def test_the_plain_page_says_the_same(self, first):
        final = after([first], review("confirm", "as before"), "final")
        text = text_of(final)
        assert text.startswith("ECG ANALYSIS BY AI - FINAL\n")
        assert report_of(final)["conclusion"] in text
        assert "Note: as before." in text
        assert "not yet reviewed" not in text

    def test_what_the_ai_said_is_taken_from_the_ai_again_and_again(self, first):
        final = after([first], review("confirm"), "final")
        corrected = after([final, first], review("override", "AF"), "corrected")
        twice = after([corrected, final, first], review("override", "Flutter"), "corrected")
        assert report_of(twice)["conclusion"].count("The AI had said:") == 1
        assert report_of(twice)["conclusion"].endswith(own_words(first))
        assert [p["id"][37:] for p in resources(twice, "Provenance")] == [
            "provenance",
            "provenance-2",
            "provenance-3",
            "provenance-4",
        ]

    @pytest.mark.parametrize("kind", ["flagged", "unscorable", "strip"])
    def test_every_version_is_valid(self, exam, findings_of, issued, kind):
        own = StoredReport(exam.id, issued, build_report(exam, findings_of(kind), issued=issued))
        for decision, status in (("confirm", "final"), ("reject", "entered-in-error")):
            version = after([own], review(decision), status)
            Bundle.model_validate_json(json.dumps(version.bundle))
            urls = [e["fullUrl"] for e in version.bundle["entry"]]
            assert len(set(urls)) == len(urls)

    def test_a_literal_reference_stays_one(self, first):
        decided = replace(review("confirm"), reviewer=Reviewer("Practitioner/7"))
        (who,) = report_of(after([first], decided, "final"))["resultsInterpreter"]
        assert who == {"reference": "Practitioner/7"}


class TestAtAServer:
    @pytest.fixture
    def client(self, fhir_server):
        client = FhirClient(fhir_server)
        yield client
        client.close()

    def there(self, fhir_server, kind, first, slug=""):
        token = f"urn:hisbundle:id|{first.exam_id}{slug}"
        answer = httpx.get(
            f"{fhir_server}/{kind}", params={"identifier": token}, timeout=PATIENCE_S
        )
        return [entry["resource"] for entry in answer.json().get("entry", [])]

    def test_a_version_updates_what_is_there(self, client, fhir_server, first):
        client.post_transaction(first.bundle)
        (before,) = self.there(fhir_server, "DiagnosticReport", first)
        final = after([first], review("confirm"), "final")
        told = client.post_transaction(final.bundle)
        (report,) = self.there(fhir_server, "DiagnosticReport", first)
        assert told == f'200 DiagnosticReport/{before["id"]} W/"2"'
        assert (report["id"], report["status"]) == (before["id"], "final")
        assert (before["meta"]["versionId"], report["meta"]["versionId"]) == ("1", "2")
        assert report["result"] == before["result"]
        (anomaly,) = self.there(fhir_server, "Observation", first, "-anomaly")
        assert anomaly["status"] == "final"
        found = httpx.get(
            f"{fhir_server}/Provenance",
            params={"target": f"DiagnosticReport/{report['id']}"},
            timeout=PATIENCE_S,
        ).json()
        assert sorted(len(e["resource"]["agent"]) for e in found["entry"]) == [1, 2]

    def test_sent_twice_it_is_there_once(self, client, fhir_server, first):
        client.post_transaction(first.bundle)
        final = after([first], review("confirm"), "final")
        for _ in range(2):
            client.post_transaction(final.bundle)
        (report,) = self.there(fhir_server, "DiagnosticReport", first)
        assert report["status"] == "final"
        found = httpx.get(
            f"{fhir_server}/Provenance",
            params={"target": f"DiagnosticReport/{report['id']}"},
            timeout=PATIENCE_S,
        ).json()
        assert len(found["entry"]) == 2

    def test_a_server_that_never_had_the_first_gets_the_second(self, client, fhir_server, first):
        amended = after([first], review("override", "AF", (AFIB,)), "amended")
        client.post_transaction(amended.bundle)
        (report,) = self.there(fhir_server, "DiagnosticReport", first)
        assert (report["status"], report["conclusionCode"]) == ("amended", [AFIB])


def test_what_is_updated_leaves_without_our_ids(first):
    assert sendable(first.bundle) == first.bundle
    final = after([first], review("confirm"), "final")
    kinds = {
        e["resource"]["resourceType"]: "id" in e["resource"]
        for e in sendable(final.bundle)["entry"]
    }
    assert kinds == {
        "DiagnosticReport": False,
        "Observation": False,
        "Device": True,
        "Provenance": True,
    }
    assert report_of(final)["id"] == str(first.exam_id)
