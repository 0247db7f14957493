"""A broker behind TLS with a hospital's own CA, and behind names and passwords."""

import gc
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from kafka import KafkaAdminClient

from integration.cli.local_kafka import LocalBroker
from integration.errors import TryLater
from integration.kafka import connection
from integration.kafka.connection import client_arguments, tls_fault
from integration.kafka.health import Use, topics_of
from integration.kafka.settings import KafkaSettings, TopicSettings
from integration.kafka.writer import Writer
from tests.ecg_events import ecg_bytes
from tests.integration.listeners.kafka_site import Site
from tests.kafka_broker import JOIN_S
from tests.kafka_edge import edge_before
from tests.patience import wait_for
from tests.ports import free_port
from tests.private_ca import PrivateCa

# kafka-python 3.0.12 leaves the sockets of a failed connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")

NAME, PASSWORD = "hisbundle", "geheim"


class Hospital:
    """A broker, what stands before it, and the CA that both sides trust."""

    def __init__(self, folder):
        self.ca = PrivateCa(folder)
        self.ours = {"ca": self.ca.file, "certificate": self.ca.issue("ours", "client.example")}
        self.port = free_port()
        self.broker = LocalBroker(folder, free_port(), advertised_port=self.port)

    def edge(self, context=None, users=None, **options):
        return edge_before(self.broker.port, self.port, context=context, users=users, **options)

    def context(self, certificate=None, versions=ssl.TLSVersion.TLSv1_3):
        """The edge's side of TLS; it wants a certificate of its client."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca.file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = versions
        context.load_cert_chain(certificate or self.ca.issue("broker", "127.0.0.1"))
        return context

    def settings(self, topic="t", **security):
        return KafkaSettings(
            bootstrap_servers=f"127.0.0.1:{self.port}",
            session_timeout_s=JOIN_S,
            topics={topic: TopicSettings()},
            **security,
        )


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    made = Hospital(tmp_path_factory.mktemp("secured"))
    made.broker.start()
    yield made
    made.broker.stop()


@pytest.fixture(autouse=True)
def collected():
    """What a test leaves to the garbage collector is told of in that test."""
    yield
    gc.collect()


@pytest.fixture
def hasty(monkeypatch):
    """Nobody waits long for a broker that refuses."""
    monkeypatch.setattr(connection, "_BOOTSTRAP_MS", 1500)


def check(settings):
    (found,) = topics_of(settings, {"t": Use.READ})
    return found


def test_records_come_and_go_by_mutual_tls(hospital, tmp_path):
    site, own = Site(tmp_path), hospital.settings("secured", tls=hospital.ours)
    with hospital.edge(hospital.context()):
        admin = KafkaAdminClient(**client_arguments(own))
        admin.create_topics({"secured": {"num_partitions": 1, "replication_factor": 1}})
        admin.close()
        writer = Writer(client_arguments(own), 30.0)
        assert writer.write("secured", b"k", ecg_bytes(1), []).startswith("secured ")
        writer.close()
        listener = site.listener(own)
        wait_for(lambda: site.exams() == 1, "the ECG")
        listener.stop()
    site.close()


@pytest.mark.parametrize(
    ("mechanism", "secured"),
    [
        ("PLAIN", True),
        ("SCRAM-SHA-256", True),
        ("SCRAM-SHA-512", True),
        ("SCRAM-SHA-512", False),
    ],
)
def test_a_name_and_a_password_let_in(hospital, mechanism, secured):
    sasl = {"mechanism": mechanism, "username": NAME, "password": PASSWORD}
    own = hospital.settings(sasl=sasl, tls=hospital.ours if secured else None)
    with hospital.edge(hospital.context() if secured else None, {NAME: PASSWORD}) as edge:
        assert "create it" in check(own).problem
        assert edge.used == {mechanism}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_told(hospital, mechanism):
    sasl = {"mechanism": mechanism, "username": NAME, "password": "wrong"}
    own = hospital.settings(sasl=sasl, tls=hospital.ours)
    with (
        hospital.edge(hospital.context(), {NAME: PASSWORD}),
        pytest.raises(TryLater, match="name or password"),
    ):
        check(own)


@pytest.mark.usefixtures("hasty")
def test_a_mechanism_that_the_broker_does_not_know_is_told(hospital):
    own = hospital.settings(sasl={"username": NAME, "password": PASSWORD})
    with (
        hospital.edge(users={NAME: PASSWORD}, mechanisms=("PLAIN",)),
        pytest.raises(TryLater, match=r"sasl\.mechanism"),
    ):
        check(own)


def strangers(hospital, folder):
    """Whom the broker's certificate is of, what we trust, and what is told of that."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return {
        "another CA": (None, PrivateCa(folder).file, "tls-certificate-untrusted"),
        "another name": (
            hospital.ca.issue("other", "kafka.hospital.example"),
            hospital.ca.file,
            "tls-certificate-untrusted",
        ),
        "expired": (
            hospital.ca.issue("old", "127.0.0.1", not_after=yesterday),
            hospital.ca.file,
            "tls-certificate-expired",
        ),
    }


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("case", ["another CA", "another name", "expired"])
def test_a_broker_that_is_not_trusted_is_told_by_its_reason(hospital, tmp_path, case):
    certificate, trusted, reason = strangers(hospital, tmp_path)[case]
    own = hospital.settings(tls=hospital.ours | {"ca": trusted})
    with hospital.edge(hospital.context(certificate)), pytest.raises(TryLater) as caught:
        check(own)
    assert caught.value.reason == reason


@pytest.mark.parametrize("versions", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "of another CA"])
def test_a_broker_that_does_not_trust_us_is_told(hospital, tmp_path, versions, shown):
    stranger = PrivateCa(tmp_path).issue("stranger", "client.example")
    certificate = stranger if shown == "of another CA" else None
    own = hospital.settings(tls=hospital.ours | {"certificate": certificate})
    with hospital.edge(hospital.context(versions=versions)):
        reason, _ = tls_fault(own)
    assert reason == "tls-refused"


def test_a_broker_without_tls_is_told(hospital):
    with hospital.edge():
        reason, _ = tls_fault(hospital.settings(tls=hospital.ours))
    assert reason in {"tls-handshake-failed", "tls-handshake-timeout"}  # it hangs up, or waits


def test_what_does_not_listen_has_no_fault_of_tls(hospital):
    assert tls_fault(hospital.settings(tls=hospital.ours)) is None
    assert tls_fault(hospital.settings()) is None
