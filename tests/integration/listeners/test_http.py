"""The read-only interface over a real SQLite store."""

import base64
import socket
import threading
from datetime import UTC, datetime
from uuid import UUID

import httpx
import pytest
import uvicorn
from fhir.resources.R4B import get_fhir_model_class

from integration.fhir.settings import HttpSettings
from integration.fhir.xml import resource_of_xml
from integration.listeners.http import create_app
from integration.metrics import Metrics
from integration.security.callers import callers_of
from integration.security.signing_keys import make_key
from tests.integration.listeners.reports import found, request
from tests.patience import PATIENCE_S


@pytest.mark.parametrize(
    ("query", "ordinals"),
    [
        ("", [3, 2, 1, 0]),
        ("patient=ZZCANARY1", [2, 1, 0]),
        ("patient=ADT|ZZCANARY1", [1, 0]),
        ("patient.identifier=ADT%7CZZCANARY1", [1, 0]),
        ("subject:identifier=OTHER|ZZCANARY1", [2]),
        ("patient=ADT|ZZCANARY2", []),
        ("patient=ZZCANARY2", [3]),
        ("patient=zzcanary1", []),
        ("date=2026-03-01", [0]),
        ("date=ge2026-03-02&date=lt2026-03-04", [2, 1]),
        ("date=2026-03", [3, 2, 1, 0]),
        ("date=gt2026-03-03", [3]),  # its time is unknown: the day of issue counts
        ("patient=ADT|ZZCANARY1&date=le2026-03-01", [0]),
        ("identifier=PLACER", []),
    ],
)
def test_search(get, exam_ids, query, ordinals):
    answer = get(f"/fhir/DiagnosticReport?{query}")
    assert found(answer) == [exam_ids[i] for i in ordinals]
    assert answer.json()["total"] == len(ordinals)


def test_search_by_a_form(get, exam_ids):
    form = {"patient": "ADT|ZZCANARY1", "_count": "1"}
    place = "/fhir/DiagnosticReport/_search"
    answer = get(place, method="POST", form=form)
    assert (found(answer), answer.json()["total"]) == ([exam_ids[1]], 2)
    links = {link["relation"]: link["url"] for link in answer.json()["link"]}
    assert found(get(links["next"])) == [exam_ids[0]]
    both = get(f"{place}?date=2026-03-01", method="POST", form=form)
    assert found(both) == [exam_ids[0]]
    assert get(place, 400, method="POST", form={"family": "Roe"})
    assert get(place, 406, method="POST", form=form | {"_format": "csv"})
    long = get(place, 413, method="POST", form={"_id": "x" * 2**14})
    assert long.json()["issue"][0]["code"] == "too-long"
    assert get(place, 415, method="POST", Content_Type="application/fhir+json")
    get(place, 404)


def test_search_by_identifier(get, exam_ids):
    for query in (f"_id={exam_ids[1]}", f"identifier=urn:hisbundle:id|{exam_ids[1]}"):
        assert found(get(f"/fhir/DiagnosticReport?{query}")) == [exam_ids[1]]


def test_next_links_lead_through_every_report_once(get, exam_ids):
    url, seen = "/fhir/DiagnosticReport?date=ge2026&_count=3", []
    while url:
        answer = get(url)
        assert answer.json()["total"] == 4
        seen += found(answer)
        url = {link["relation"]: link["url"] for link in answer.json()["link"]}.get("next")
    assert seen == exam_ids[::-1]


def test_count_zero_gives_the_total_alone(get):
    answer = get("/fhir/DiagnosticReport?_count=0")
    assert answer.json()["total"] == 4
    assert found(answer) == []


def test_included_results_can_be_read_one_by_one(get, exam_ids):
    answer = get(f"/fhir/DiagnosticReport?_id={exam_ids[0]}&_include=DiagnosticReport:result")
    entries = answer.json()["entry"]
    assert len(entries) == 8
    for entry in entries:
        assert (
            get(entry["fullUrl"].removeprefix("http://127.0.0.1:8080")).json()
            == (entry["resource"])
        )


def test_read_report_and_all_it_refers_to(get, exam_ids):
    report = get(f"/fhir/DiagnosticReport/{exam_ids[0]}").json()
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == "ZZCANARY1"
    anomaly = get(f"/fhir/{report['result'][0]['reference']}").json()
    assert anomaly["valueQuantity"]["value"] == 0.2
    assert get(f"/fhir/{anomaly['device']['reference']}").json()["version"][0]["value"] == "1"
    provenance = get(f"/fhir/Provenance/{exam_ids[0]}-provenance").json()
    assert {"reference": f"DiagnosticReport/{exam_ids[0]}"} in provenance["target"]


@pytest.mark.parametrize(
    "path",
    [
        "/fhir/DiagnosticReport/00000000-0000-0000-0000-000000000000",
        "/fhir/DiagnosticReport/nonsense",
        "/fhir/DiagnosticReport/{exam}-mi",
        "/fhir/Observation/{exam}",
        "/fhir/Observation/{exam}-nothing",
        "/fhir/Patient/{exam}",
        "/fhir/Patient",
        "/fhir/DiagnosticReport/",
        "/fhir/DiagnosticReport/{exam}/_history/2",
        "/fhir",
    ],
)
def test_not_found(get, exam_ids, path):
    answer = get(path.format(exam=exam_ids[0]), 404)
    assert answer.json()["issue"][0]["code"] == "not-found"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("family=Roe", "not-supported"),
        ("date=yesterday", "value"),
        ("_count=-1", "value"),
        ("patient=Patient/1", "value"),
    ],
)
def test_bad_searches(get, query, code):
    assert get(f"/fhir/DiagnosticReport?{query}", 400).json()["issue"][0]["code"] == code


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_written(get, exam_ids, method):
    for path in ("/fhir/DiagnosticReport", f"/fhir/DiagnosticReport/{exam_ids[0]}"):
        answer = get(path, 405, method=method)
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("application/fhir+json", "", 200),
        ("application/json;q=0.9", "", 200),
        ("text/html, */*;q=0.1", "", 200),
        ("application/*", "", 200),
        ("text/html", "", 406),
        ("application/fhir+json;q=0", "", 406),
        ("text/html", "?_format=json", 200),
        ("*/*", "?_format=application/fhir+json", 200),
        ("*/*", "?_format=application/fhir%2Bjson", 200),
        ("*/*", "?_format=csv", 406),
    ],
)
def test_formats(get, accept, query, status):
    get(f"/fhir/DiagnosticReport{query}", status, Accept=accept)
    get(f"/fhir/metadata{query}", status, Accept=accept)


def test_our_public_keys_are_everybodys(reports, tmp_path):
    kid = make_key(tmp_path, "ES384", datetime.now(UTC)).kid
    callers = callers_of(HttpSettings(token="a-token-of-some-length"))
    answer = request(create_app(reports, callers=callers, keys=tmp_path), "/.well-known/jwks.json")
    assert [key["kid"] for key in answer.json()["keys"]] == [kid]


def test_over_a_real_socket(reports, exam_ids):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(reports), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        base = f"http://127.0.0.1:{listening.getsockname()[1]}/fhir"
        try:
            answer = httpx.get(
                f"{base}/DiagnosticReport", params={"patient": "ADT|ZZCANARY1"}, timeout=PATIENCE_S
            )
            head = httpx.head(f"{base}/DiagnosticReport/{exam_ids[0]}", timeout=PATIENCE_S)
        finally:
            server.should_exit = True
            thread.join()
    assert found(answer) == [exam_ids[1], exam_ids[0]]
    assert answer.json()["entry"][0]["fullUrl"] == f"{base}/DiagnosticReport/{exam_ids[1]}"
    assert (head.status_code, head.content) == (200, b"")


def test_the_page_is_a_pdf(reports, exam_ids):
    app = create_app(reports)
    answer = request(app, f"/fhir/Binary/{exam_ids[0]}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content.startswith(b"%PDF-")
    assert request(app, f"/fhir/Binary/{exam_ids[0]}").content == answer.content


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/pdf", 200),
        ("text/html, application/pdf;q=0.5", 200),
        ("*/*", 200),
        ("text/html", 406),
        ("application/pdf;q=0", 406),
    ],
)
def test_the_page_goes_to_who_accepts_it(reports, exam_ids, accept, status):
    answer = request(create_app(reports), f"/fhir/Binary/{exam_ids[0]}", accept=accept)
    assert answer.status_code == status
    assert answer.content.startswith(b"%PDF-") is (status == 200)


@pytest.mark.parametrize("accept", ["application/fhir+json", "application/fhir+xml"])
def test_the_page_as_a_resource(reports, exam_ids, accept):
    answer = request(create_app(reports), f"/fhir/Binary/{exam_ids[0]}", accept=accept)
    xml = accept.endswith("xml")
    binary = resource_of_xml(answer.content) if xml else answer.json()
    get_fhir_model_class("Binary").model_validate(binary)
    assert base64.b64decode(binary["data"]).startswith(b"%PDF-")


@pytest.mark.parametrize(
    "path", ["metadata", "DiagnosticReport?_include=DiagnosticReport:result", "Patient/x"]
)
def test_xml_says_the_same(reports, exam_ids, path):
    app = create_app(reports)
    xml = request(app, f"/fhir/{path}", accept="application/fhir+xml")
    assert xml.headers["content-type"] == "application/fhir+xml"
    told = resource_of_xml(xml.content)
    kind = get_fhir_model_class(told["resourceType"])
    json = kind.model_validate(request(app, f"/fhir/{path}").json())
    assert kind.model_validate(told).model_dump_json() == json.model_dump_json()


def test_a_report_that_the_client_has_is_not_sent_again(reports, exam_ids):
    app, path = create_app(reports), f"/fhir/DiagnosticReport/{exam_ids[0]}"
    tag = request(app, path).headers["etag"]
    assert request(app, path, if_none_match=tag).status_code == 304


@pytest.mark.parametrize("id_", ["nobody", str(UUID(int=1)), "{}-mi"])
def test_no_page_of_what_is_not_there(reports, exam_ids, id_):
    assert (
        request(create_app(reports), f"/fhir/Binary/{id_.format(exam_ids[0])}").status_code == 404
    )


def test_the_page_for_prometheus_is_served_where_it_is_wanted(reports, exam_ids):
    metrics = Metrics(reports)
    app = create_app(reports, allowed_hosts=None, metrics=metrics)
    request(app, f"/fhir/Observation/{exam_ids[0]}")
    request(app, "/fhir/metadata", method="ZZCANARY1")
    answer = request(app, "/metrics")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'route="/fhir/{kind}/{id}"' in answer.text
    assert 'method="other"' in answer.text
    assert "ZZCANARY" not in answer.text
    assert request(create_app(reports, allowed_hosts=None), "/metrics").status_code == 404
