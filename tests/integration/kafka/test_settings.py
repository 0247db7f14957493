import pytest

from integration.config import load_settings
from integration.errors import ConfigError
from integration.kafka.settings import KafkaSettings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISBUNDLE_CONFIG", raising=False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[kafka.topics.a]", "topics need bootstrap_servers"),
        ("[kafka]\nbootstrap_servers = 'b.example.org:9092'", "kafka.bootstrap_servers: b.example"),
        ("[kafka.topics.a]\nformat = 'csv'", "kafka.topics.a.format"),
        (
            "[kafka]\nbootstrap_servers = '[::1]:9092'\ndead_letter_topic = 'a'\n[kafka.topics.a]",
            "what is refused would come again",
        ),
        (
            "[kafka.sasl]\nmechanism = 'PLAIN'\nusername = 'u'\npassword = 'p'",
            "PLAIN needs tls",
        ),
        ("[kafka.sasl]\nusername = 'u'", "kafka.sasl.password"),
    ],
)
def test_what_cannot_work_is_told(tmp_path, text, told):
    (tmp_path / "hisbundle.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_settings()


def test_hosts_are_those_of_all_servers():
    servers = "127.0.0.1:9092, [::1]:9093,b.example.org:9094"
    settings = KafkaSettings(bootstrap_servers=servers)
    assert settings.hosts == ("127.0.0.1", "::1", "b.example.org")
    assert KafkaSettings().hosts == ()


def test_a_cluster_beyond_loopback_is_reached_by_tls(tmp_path):
    text = "[kafka]\nbootstrap_servers = 'b.example.org:9094'\n[kafka.tls]\n[kafka.topics.'ecg.in']"
    (tmp_path / "hisbundle.toml").write_text(text)
    assert set(load_settings().kafka.topics) == {"ecg.in"}
