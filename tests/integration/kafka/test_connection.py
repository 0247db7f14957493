import pytest

from integration.errors import ConfigError
from integration.kafka.connection import client_arguments
from integration.kafka.settings import KafkaSettings

SASL = {"username": "hisbundle", "password": "geheim"}


@pytest.mark.parametrize(
    ("tls", "sasl", "protocol"),
    [
        (None, None, "PLAINTEXT"),
        ({}, None, "SSL"),
        (None, SASL, "SASL_PLAINTEXT"),
        ({}, SASL, "SASL_SSL"),
    ],
)
def test_what_is_configured_is_spoken(tls, sasl, protocol):
    settings = KafkaSettings(bootstrap_servers="a:1, b:2", tls=tls, sasl=sasl)
    arguments = client_arguments(settings)
    assert arguments["bootstrap_servers"] == ["a:1", "b:2"]
    assert arguments["security_protocol"] == protocol
    assert ("ssl_context" in arguments) is (tls is not None)
    assert arguments.get("sasl_plain_password") == (sasl and "geheim")
    assert arguments.get("sasl_mechanism") == (sasl and "SCRAM-SHA-512")


def test_the_brokers_certificate_and_name_are_verified():
    context = client_arguments(KafkaSettings(bootstrap_servers="a:1", tls={}))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_a_certificate_that_cannot_be_read_is_told(tmp_path):
    settings = KafkaSettings(bootstrap_servers="a:1", tls={"ca": tmp_path / "none.pem"})
    with pytest.raises(ConfigError, match="tls-unusable"):
        client_arguments(settings)
