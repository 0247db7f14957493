import re
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from integration.alarms import AlarmSettings
from integration.config import Settings, load_settings
from integration.errors import ConfigError
from integration.fhir.settings import (
    FhirDestinationSettings,
    IntrospectionSettings,
    JwtSettings,
    SmartSettings,
    SourceSettings,
)
from integration.hl7v2.settings import OruDestinationSettings, SenderSettings, TlsSettings
from integration.kafka.settings import KafkaDestinationSettings, SaslSettings, TopicSettings
from integration.sections import ClientTlsSettings

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
    assert settings.destinations == {}
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
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__EHR__KIND", "fhir")
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__EHR__BASE_URL", "https://ehr.example.org/fhir")
    monkeypatch.setenv("HISBUNDLE_TIME_ZONE", "Europe/Vienna")
    settings = load_settings()
    assert not settings.embedded
    assert settings.database == "postgresql://127.0.0.1/x"
    assert [d.base_url for d in settings.destinations.values()] == ["https://ehr.example.org/fhir"]
    assert settings.zone == ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HISBUNDLE_MLLP__PORT", "70000", "mllp.port"),
        ("HISBUNDLE_MLLP__PORT", "many", "mllp.port"),
        ("HISBUNDLE_TIME_ZONE", "Mars/Olympus", "time_zone"),
        ("HISBUNDLE_TIME_ZONE", "../etc/passwd", "time_zone"),
        ("HISBUNDLE_MLLP__HOST", "0.0.0.0", "allow_remote_plaintext"),
        ("HISBUNDLE_HTTP__HOST", "ecg.example.org", "allow_remote_plaintext"),
        ("HISBUNDLE_DEFAULT_CHARSET", "utf-7", "default_charset"),
        ("HISBUNDLE_MLLP__PROT", "2575", "mllp.prot: there is no such setting"),
        ("HISBUNDLE_DESTINATIONS__EHR__BASE_URL", "https://ehr.example.org", "destinations.ehr:"),
    ],
)
def test_a_wrong_value_is_told_by_its_setting(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert caught.value.reason == "settings-invalid"
    assert told in caught.value.detail


@pytest.mark.parametrize(
    "name",
    [
        "HISBUNDLE_ENCRYPTION_KEY_FILE",
        "HISBUNDLE_HTTP_TOKEN",
        "HISBUNDLE_BROKERURL",
        "HISBUNDLE_MLPP__PORT",
        "HISBUNDLE_MODES",
        "hisbundle_modes",
        "Hisbundle_Config",
    ],
)
def test_a_misspelt_variable_is_told_with_all_else_and_without_its_value(monkeypatch, name):
    monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("HISBUNDLE_MLLP__PORT", "many")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert caught.value.reason == "settings-invalid"
    told, port = caught.value.detail.split("; ")
    assert told == f"{name}: there is no such setting"
    assert port.startswith("mllp.port: ")
    monkeypatch.delenv("HISBUNDLE_MLLP__PORT")
    with pytest.raises(ConfigError, match=name):
        load_settings()


def test_variables_in_any_case_and_those_of_the_tests_are_no_fault(monkeypatch):
    monkeypatch.setenv("hisbundle_mode", "silent")
    monkeypatch.setenv("Hisbundle_Mllp__Port", "2222")
    monkeypatch.setenv("HISBUNDLE_TEST_REDIS_URL", "redis://127.0.0.1")
    settings = load_settings()
    assert (settings.mode, settings.mllp.port) == ("silent", 2222)


def test_plain_text_beyond_loopback_has_to_be_allowed(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_ALLOW_REMOTE_PLAINTEXT", "true")
    monkeypatch.setenv("HISBUNDLE_MLLP__HOST", "0.0.0.0")
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__EHR__KIND", "fhir")
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__EHR__BASE_URL", "http://ehr.example.org/fhir")
    assert list(load_settings().destinations) == ["ehr"]


def test_several_destinations_and_a_variable_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "hisbundle.toml").write_text(DESTINATIONS)
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__EHR__TOKEN", "geheim")
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS__HIS-2__TLS__CA", "ca.pem")
    ehr, his = load_settings().destinations.values()
    assert (ehr.kind, ehr.base_url) == ("fhir", "https://ehr.example.org/fhir")
    assert ehr.token.get_secret_value() == "geheim"
    assert (his.kind, his.port, his.tls.ca) == ("oru", 6661, Path("ca.pem"))


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


@pytest.mark.parametrize(
    "given",
    [
        {"TOKEN": "a-token-of-some-length"},
        {"JWT__ISSUER": "https://a", "JWT__AUDIENCE": "https://b", "JWT__JWKS": "https://a/jwks"},
        {
            "INTROSPECTION__URL": "https://a",
            "INTROSPECTION__CLIENT_ID": "h",
            "INTROSPECTION__CLIENT_SECRET": "geheim",
        },
    ],
)
def test_beyond_loopback_tokens_are_asked_for(monkeypatch, given):
    assert not load_settings().http.asks_for_tokens
    monkeypatch.setenv("HISBUNDLE_ALLOW_REMOTE_PLAINTEXT", "true")
    monkeypatch.setenv("HISBUNDLE_HTTP__HOST", "0.0.0.0")
    with pytest.raises(ConfigError, match=r"http\.token"):
        load_settings()
    for name, value in given.items():
        monkeypatch.setenv(f"HISBUNDLE_HTTP__{name}", value)
    assert load_settings().http.asks_for_tokens


def test_a_token_is_not_short(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_HTTP__TOKEN", "short")
    with pytest.raises(ConfigError, match=r"http\.token"):
        load_settings()


EHR_WITH_TOKEN = '{"ehr": {"kind": "fhir", "base_url": "https://e.org", "token": "geheim"}}'


def test_secrets_stay_out_of_text(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", "postgresql://u:geheim@127.0.0.1/x")
    monkeypatch.setenv("HISBUNDLE_DESTINATIONS", EHR_WITH_TOKEN)
    monkeypatch.setenv("HISBUNDLE_HTTP__TOKEN", "geheim, geheim, geheim")
    assert "geheim" not in repr(load_settings())


def is_section(annotation):
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


SECTIONS = {
    None: Settings,
    **{n: f.annotation for n, f in Settings.model_fields.items() if is_section(f.annotation)},
    "mllp.tls": TlsSettings,
    "alarms.rhythms.AF": AlarmSettings,
    "destinations.ehr": FhirDestinationSettings,
    "destinations.ehr.smart": SmartSettings,
    "destinations.his": OruDestinationSettings,
    "destinations.his.tls": ClientTlsSettings,
    "destinations.bus": KafkaDestinationSettings,
    "destinations.bus.tls": ClientTlsSettings,
    "destinations.bus.sasl": SaslSettings,
    "kafka.tls": ClientTlsSettings,
    "http.jwt": JwtSettings,
    "http.introspection": IntrospectionSettings,
    "kafka.sasl": SaslSettings,
    "kafka.topics.ecg-events": TopicSettings,
    "senders.carts-ed": SenderSettings,
    "sources.ehr": SourceSettings,
    "sources.ehr.smart": SmartSettings,
}
NESTED = {
    *SECTIONS,
    "rhythms",
    "tls",
    "senders",
    "sasl",
    "topics",
    "jwt",
    "introspection",
    "destinations",
    "smart",
    "sources",
}


def section(text, name):
    """Return the lines of a section of the example, those commented out included."""
    lines = text.splitlines()
    heads = [re.fullmatch(r"(?:# )?\[([\w.-]+)\].*", line) for line in lines]
    starts = [-1, *(n for n, head in enumerate(heads) if head)]
    names = [None, *(head[1] for head in heads if head)]
    at = names.index(name)
    return lines[starts[at] + 1 : [*starts, len(lines)][at + 1]]


@pytest.mark.parametrize("name", SECTIONS)
def test_the_example_names_every_setting(name):
    lines = section(EXAMPLE.read_text(), name)
    told = {match[1] for line in lines if (match := re.match(r"(?:# )?(\w+) =", line))}
    fields = SECTIONS[name].model_fields.items()
    assert told == {n for n, _ in fields} - (
        NESTED if name is None or f"{name}." in " ".join(map(str, SECTIONS)) else set()
    )
    assert all(field.description for n, field in fields if n not in NESTED)


def test_the_example_has_the_defaults(monkeypatch):
    monkeypatch.setenv("HISBUNDLE_CONFIG", str(EXAMPLE))
    from_example = load_settings()
    monkeypatch.delenv("HISBUNDLE_CONFIG")
    assert from_example == load_settings()


def test_what_the_example_shows_of_tls_and_senders_is_good(tmp_path):
    text = EXAMPLE.read_text()
    lines = []
    for name in (
        "mllp.tls",
        "senders.carts-ed",
        "sources.ehr",
        "http.jwt",
        "http.introspection",
        "destinations.ehr",
        "destinations.his",
        "destinations.his.tls",
        "destinations.bus",
        "destinations.bus.tls",
        "destinations.bus.sasl",
        "kafka.sasl",
        "kafka.topics.ecg-events",
    ):
        shown = [line[2:] for line in section(text, name) if re.match(r"# \w+ = ", line)]
        lines += [f"[{name}]", *shown]
    lines += ["[kafka]", "bootstrap_servers = '127.0.0.1:9092'"]
    (tmp_path / "hisbundle.toml").write_text("\n".join(lines))
    settings = load_settings()
    assert settings.mllp.tls.require_client_certificate
    assert settings.http.asks_for_tokens
    assert settings.sources["ehr"].since.year == 2026
    assert len(settings.sources["ehr"].queries) == 1
    assert settings.destinations["ehr"].base_url == "https://ehr.example.org/fhir"
    assert settings.destinations["his"].tls.certificate.name == "hisbundle.pem"
    assert settings.destinations["bus"].sasl.username == "hisbundle"
    assert settings.kafka.sasl.mechanism == "SCRAM-SHA-512"
    assert settings.kafka.topics["ecg-events"].format == "ecg"
    assert settings.senders["carts-ed"].networks == (ip_network("10.20.0.0/16"),)


DESTINATIONS = """
[destinations.ehr]
kind = "fhir"
base_url = "https://ehr.example.org/fhir"
[destinations.his-2]
kind = "oru"
host = "his.example.org"
port = 6661
[destinations.his-2.tls]
"""
TLS = "[mllp.tls]\ncertificate = 'c'\nkey = 'k'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TLS, "mllp.tls: Value error, require_client_certificate needs client_ca"),
        ("[mllp.tls]\nclient_ca = 'a'", "mllp.tls.certificate"),
        ("[sources.a]\nbase_url = 'http://ehr.example.org'", "allow_remote_plaintext"),
        ("[sources.a]\nbase_url = 'https://a'\nqueries = ['observation']", "sources.a.queries"),
        (
            "[sources.a]\nbase_url = 'https://a'\nnotify_token = 'a-token-of-some-length'",
            "sources.a.notify_token: nobody asks",
        ),
        (
            (
                "http.token = 'one-of-some-length'\n"
                "sources.a = {base_url = 'https://a', notify_token = 'one-of-some-length'}"
            ),
            "sources.a.notify_token: http.token is the same",
        ),
        (
            (
                "http.token = 'one-of-some-length'\n"
                "sources.a = {base_url = 'https://a', notify_token = 'two-of-some-length'}\n"
                "sources.b = {base_url = 'https://b', notify_token = 'two-of-some-length'}"
            ),
            "sources.b.notify_token: sources.a.notify_token is the same",
        ),
        ("[senders.a]", "senders.a: Value error, give applications"),
        ("[senders.a]\nnetworks = ['10.0.0.1/8']", "senders.a.networks"),
        ("[senders.a]\nfacilities = ['x']\ntime_zone = 'Mars'", "'Mars' is not a known zone"),
        ("[senders.a]\nfacilities = ['x']\nacknowledge = 'never'", "senders.a.acknowledge"),
        ("[senders.a]\ncertificates = ['x']", "senders.a.certificates needs mllp.tls.client_ca"),
        ("[destinations.ehr]\nkind = 'fax'", "destinations.ehr: .*'fhir'"),
        (
            DESTINATIONS + "[destinations.ehr.smart]\nclient_id = 'us'\n"
            "[destinations.his-3]\nkind = 'fhir'\nbase_url = 'https://h.org'\ntoken = 't'\n"
            "[destinations.his-3.smart]\nclient_id = 'us'",
            "destinations.his-3: .*token or smart, not both",
        ),
        ("[destinations.ehr]\nkind = 'fhir'", r"destinations\.ehr\.base_url: Field required"),
        (
            "[destinations.ehr]\nkind = 'fhir'\nbase_url = 'ehr.example.org'",
            r"destinations\.ehr\.base_url: String",
        ),
        (
            "[destinations.ehr]\nkind = 'fhir'\nbase_url = 'http://ehr.example.org'",
            "destinations.ehr: ehr.example.org is not loopback",
        ),
        (
            "[destinations.his]\nkind = 'oru'\nhost = 'his.example.org'",
            "destinations.his: his.example.org is not loopback",
        ),
        (
            "[destinations.his]\nkind = 'oru'\nhost = 'localhost'\nport = 1\ntimeout_s = 60",
            "destinations.his.timeout_s must be less than worker.time_limit_s, which is 60",
        ),
        ("[destinations.EHR]\nkind = 'oru'\nhost = 'localhost'", r"destinations\.EHR"),
        (
            TLS + "require_client_certificate = false\n[senders.a]\ncertificates = ['x']",
            "needs mllp.tls.client_ca",
        ),
    ],
)
def test_what_cannot_work_is_told(tmp_path, text, told):
    (tmp_path / "hisbundle.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_settings()


def test_tls_may_be_listened_with_beyond_loopback(tmp_path):
    text = "[mllp]\nhost = '0.0.0.0'\n" + TLS + "client_ca = 'a'"
    (tmp_path / "hisbundle.toml").write_text(text)
    assert not load_settings().mllp.loopback
