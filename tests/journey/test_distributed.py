"""The same product on PostgreSQL and a broker; reports go to a FHIR server that is not ours."""

import os

import httpx
import kombu
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from kombu.exceptions import OperationalError

from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.client import MllpClient
from model.simulate import simulate
from tests.patience import PATIENCE_S

KINDS = ("normal", "sinus-tachycardia", "atrial-fibrillation", "left-bundle-branch-block")
BROKERS = {
    "rabbitmq": (
        "amqp://guest:guest@127.0.0.1:5672//",
        "docker run -d -p 127.0.0.1:5672:5672 rabbitmq:4",
    ),
    "redis": ("redis://127.0.0.1:6379/15", "docker run -d -p 127.0.0.1:6379:6379 redis:7"),
}


@pytest.fixture(
    params=[
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param("redis", marks=pytest.mark.redis),
    ]
)
def broker_url(request):
    """URL of a broker with an empty queue, else a skip that says how to get one."""
    loopback, command = BROKERS[request.param]
    variable = f"HISBUNDLE_TEST_{request.param.upper()}_URL"
    url = os.environ.get(variable, loopback)
    try:
        with kombu.Connection(url, connect_timeout=10) as connection:
            connection.ensure_connection(max_retries=1)
            connection.default_channel.queue_delete("hisbundle")
    except (OSError, OperationalError):
        pytest.skip(f"NO {request.param.upper()}. Start one: {command}, or set {variable}")
    return url


CARTS = '{"carts": {"applications": ["CART"]}}'  # beside servers somebody has to say who may send


@pytest.fixture
def site(install, fresh_postgres_url, broker_url, fhir_server):
    """An installation on servers, migrated, its listener running and no worker yet."""
    installation = install(
        DATABASE_URL=fresh_postgres_url,
        BROKER_URL=broker_url,
        SENDERS=CARTS,
        DESTINATIONS__EHR__KIND="fhir",
        DESTINATIONS__EHR__BASE_URL=fhir_server,
        DESTINATIONS__EHR__TIMEOUT_S="4",
        # Redis and the sweep hand out a dead worker's tasks only after these.
        WORKER__TIME_LIMIT_S="5",
        WORKER__RING_GRACE_S="10",
    )
    done = installation.run("migrate")
    assert done.returncode == 0, done.stderr
    installation.serve()
    return installation


def send_all(installation, messages):
    """Send messages on one connection, and expect AA for each."""
    with MllpClient("127.0.0.1", installation.mllp_port) as client:
        for raw in messages:
            assert read_acknowledgement(client.exchange(raw)).code == "AA"


def reports_at(fhir_server, exam_id):
    """Return the reports on an exam at the other side."""
    query = {"identifier": f"urn:hisbundle:id|{exam_id}"}
    found = httpx.get(f"{fhir_server}/DiagnosticReport", params=query, timeout=PATIENCE_S).json()
    return [entry["resource"] for entry in found.get("entry", [])]


@pytest.mark.postgres
def test_every_ecg_is_one_report_at_the_other_side_though_workers_are_killed(
    site, message, fhir_server
):
    assert not site.children(site.processes[0])  # with a broker, workers are started apart
    messages = [message(simulate(KINDS[n % 4], seed=n), f"P{n}") for n in range(16)]
    send_all(site, messages[:8])
    first, _ = site.start("worker"), site.start("worker")
    site.wait_for(lambda: site.status()["exams"]["received"] < 8, "the first score")
    for pid in [*site.children(first), first.pid]:
        site.kill(pid)
    send_all(site, messages[8:])
    exams = site.settled(16)
    assert {exam["state"] for exam in exams} == {"delivered"}
    for exam in exams:
        (report,) = reports_at(fhir_server, exam["id"])
        DiagnosticReport.model_validate(report)
        assert report["status"] == "preliminary"


@pytest.mark.postgres
def test_a_broker_that_is_away_costs_nothing(install, message, fresh_postgres_url):
    installation = install(
        DATABASE_URL=fresh_postgres_url,
        BROKER_URL="amqp://guest:guest@127.0.0.1:1//",
        SENDERS=CARTS,
        WORKER__SWEEP_INTERVAL_S="0.5",
    )
    assert installation.run("migrate").returncode == 0
    installation.serve()
    send_all(installation, [message(simulate("normal", seed=1), "B1")])
    assert installation.status()["exams"]["received"] == 1


@pytest.mark.postgres
def test_a_listener_refuses_a_database_it_would_not_understand(install, fresh_postgres_url):
    installation = install(
        DATABASE_URL=fresh_postgres_url,
        BROKER_URL="amqp://guest:guest@127.0.0.1:1//",
        SENDERS=CARTS,
    )
    assert installation.start("serve").wait(PATIENCE_S) == 2
    assert "schema-behind" in installation.log.read_text()
    assert "hisbundle migrate" in installation.log.read_text()
