"""What Prometheus reads while ECGs go their way: everything of a worker, nothing of a patient."""

import re
import urllib.request

import numpy as np
import pytest

from model.ecg import LEADS_12, Ecg
from model.simulate import simulate
from tests.collector import running_collector
from tests.journey.conftest import CANARY

FLAT = Ecg(np.zeros((12, 5000), np.float32), LEADS_12, 500.0)


def scrape(installation):
    with urllib.request.urlopen(f"http://127.0.0.1:{installation.http_port}/metrics") as answer:
        return answer.read().decode()


def spans_in(body):
    (resource,) = body["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    return scope["spans"]


@pytest.fixture
def collector():
    with running_collector() as server:
        yield server


def test_an_ecgs_way_is_measured_and_its_patient_is_not(install, message, fhir_server, collector):
    installation = install(
        DESTINATIONS__EHR__KIND="fhir",
        DESTINATIONS__EHR__BASE_URL=fhir_server,
        OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
    )
    installation.serve()
    scrape(installation)
    good = message(simulate("normal", seed=1), "M1")
    installation.send(good)
    installation.send(good.replace(b"MDC_DIM_MILLI_VOLT", CANARY.encode()))
    installation.send(message(FLAT, "M2"))
    installation.settled(2)
    whole = 'hisbundle_stage_seconds_count{stage="whole"} 2.0'
    page = installation.wait_for(
        lambda: page if whole in (page := scrape(installation)) else None, "the ECGs' times"
    )
    for expected in (
        'hisbundle_messages_total{outcome="accepted",protocol="mllp",reason=""} 2.0',
        'hisbundle_assessments_total{lane="live",reason="too-few-leads",verdict="unscorable"} 1.0',
        'hisbundle_deliveries_total{destination="ehr",outcome="delivered"} 2.0',
        'hisbundle_quality_total{device="CART",site="ED",verdict="unscorable"} 1.0',
        'hisbundle_anomaly_score_count{device="CART",site="ED"} 1.0',
        'hisbundle_stage_seconds_count{stage="scoring"} 2.0',
    ):
        assert expected in page.splitlines()
    assert re.search(r'hisbundle_messages_total\{outcome="refused",.*reason="unit-\w+"\} 1.0', page)
    assert CANARY not in page

    def traced():
        spans = [span for _, body in collector.got for span in spans_in(body)]
        return spans if len(spans) >= 8 else None

    spans = installation.wait_for(traced, "the ECGs' traces")
    names = ["deliver ehr", "ecg", "score", "wait"]
    assert sorted(span["name"] for span in spans) == sorted(names * 2)
    exams = {exam["id"].replace("-", "") for exam in installation.status()["recent"]}
    assert {span["traceId"] for span in spans} == exams
    assert CANARY not in str(collector.got)
