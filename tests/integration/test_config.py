import tomllib
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from integration.config import Settings, load_settings
from integration.errors import ConfigError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "hisbundle.example.toml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("HISBUNDLE_CONFIG", "HISBUNDLE_DATA_DIR", "HISBUNDLE_MLLP__PORT"):
        monkeypatch.delenv(name, raising=False)


def test_defaults_need_no_server_and_stay_on_loopback():
    settings = load_settings()
    assert settings.embedded
    assert settings.database.startswith("sqlite:///")
    assert (settings.mllp.host, settings.mllp.port) == ("127.0.0.1", 2575)
    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8080)
    assert settings.destinations == ()
    assert settings.zone is None


def test_environment_wins_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "hisbundle.toml").write_text("[mllp]\nport = 1111\nidle_timeout_s = 5\n")
    assert load_settings().mllp.port == 1111
    monkeypatch.setenv("HISBUNDLE_MLLP__PORT", "2222")
    assert load_settings().mllp.port == 2222
    assert load_settings().mllp.idle_timeout_s == 5


def test_a_configured_broker_and_server_end_the_embedded_default(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_BROKER_URL", "amqp://guest@127.0.0.1//")
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("HISBUNDLE_FHIR__BASE_URL", "https://ehr.example.org/fhir")
    monkeypatch.setenv("HISBUNDLE_TIME_ZONE", "Europe/Vienna")
    settings = load_settings()
    assert not settings.embedded
    assert settings.database == "postgresql://127.0.0.1/x"
    assert settings.destinations == ("fhir",)
    assert settings.zone == ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HISBUNDLE_MLLP__PORT", "70000", "mllp.port"),
        ("HISBUNDLE_MLLP__PORT", "many", "mllp.port"),
        ("HISBUNDLE_TIME_ZONE", "Mars/Olympus", "time_zone"),
        ("HISBUNDLE_TIME_ZONE", "../etc/passwd", "time_zone"),
        ("HISBUNDLE_FHIR__BASE_URL", "ehr.example.org", "fhir.base_url"),
        ("HISBUNDLE_MLLP__HOST", "0.0.0.0", "allow_remote_plaintext"),
        ("HISBUNDLE_HTTP__HOST", "ecg.example.org", "allow_remote_plaintext"),
        ("HISBUNDLE_FHIR__BASE_URL", "http://ehr.example.org/fhir", "allow_remote_plaintext"),
        ("HISBUNDLE_DEFAULT_CHARSET", "utf-7", "default_charset"),
    ],
)
def test_a_wrong_value_is_told_by_its_setting(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert caught.value.reason == "settings-invalid"
    assert told in caught.value.detail


def test_plain_text_beyond_loopback_has_to_be_allowed(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_ALLOW_REMOTE_PLAINTEXT", "true")
    monkeypatch.setenv("HISBUNDLE_MLLP__HOST", "0.0.0.0")
    monkeypatch.setenv("HISBUNDLE_FHIR__BASE_URL", "http://ehr.example.org/fhir")
    assert load_settings().destinations == ("fhir",)


def test_every_loopback_address_may_be_listened_on(monkeypatch):
    for host in ("localhost", "127.0.0.2", "::1"):
        monkeypatch.setenv("HISBUNDLE_MLLP__HOST", host)
        assert load_settings().mllp.host == host


@pytest.mark.parametrize(
    ("text", "told"), [("typo = 1", "typo"), ("[mllp]\nprot = 1", "mllp.prot"), ("= 3", "toml")]
)
def test_a_wrong_file_is_told(tmp_path, text, told):
    (tmp_path / "hisbundle.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_settings()


def test_a_named_file_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert caught.value.reason == "settings-missing"


def test_secrets_stay_out_of_text(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", "postgresql://u:geheim@127.0.0.1/x")
    monkeypatch.setenv("HISBUNDLE_FHIR__TOKEN", "geheim")
    assert "geheim" not in repr(load_settings())


def test_the_example_names_every_setting_with_its_default(tmp_path, monkeypatch):
    text = EXAMPLE.read_text()
    for model in (Settings, *(f.annotation for f in Settings.model_fields.values())):
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                assert field.description or name in text
                assert f"\n{name} =" in text or f"\n# {name} =" in text or f"[{name}]" in text
    assert tomllib.loads(text)
    monkeypatch.setenv("HISBUNDLE_CONFIG", str(EXAMPLE))
    from_example = load_settings()
    monkeypatch.delenv("HISBUNDLE_CONFIG")
    assert from_example == load_settings()
