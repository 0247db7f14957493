"""Settings: environment over a TOML file over defaults that need no server.

Every process reads them once, at its root, and passes plain values down. A variable is named after
its setting: `HISBUNDLE_MLLP__PORT` is `port` under `[mllp]`. `deploy/hisbundle.example.toml` shows
them all; a test keeps it complete.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from integration.errors import ConfigError

CONFIG_VARIABLE = "HISBUNDLE_CONFIG"
DEFAULT_FILE = Path("hisbundle.toml")


Charset = Literal["ascii", "utf-8", "iso8859-1", "iso8859-15"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a known zone") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(_Section):
    """TLS of the HL7 v2 listener. Files that change are read again; connections stay."""

    certificate: Path = Field(description="PEM: the listener's certificate and its chain")
    key: Path = Field(description="PEM: its private key, without a passphrase")
    client_ca: Path | None = Field(None, description="PEM: who may sign senders' certificates")
    require_client_certificate: bool = Field(
        default=True, description="refuse senders without one (mutual TLS)"
    )
    handshake_timeout_s: float = Field(10.0, gt=0, description="until a connection is secured")

    @model_validator(mode="after")
    def _somebody_signs(self) -> Self:
        if self.require_client_certificate and self.client_ca is None:
            raise ValueError("require_client_certificate needs client_ca")
        return self


class MllpSettings(_Section):
    """The HL7 v2 listener."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(2575, ge=0, le=65_535, description="port; 0 takes a free one")
    max_message_bytes: int = Field(
        16 * 2**20,
        ge=2**16,
        le=2**28,
        description="larger messages are refused; 12 leads x 1000 Hz x 60 s are about 4.5 MB",
    )
    max_connections: int = Field(256, ge=1, description="further senders wait in the backlog")
    max_connections_per_peer: int = Field(
        128, ge=1, description="further ones from the same address are closed at once"
    )
    max_buffered_bytes: int = Field(
        2**27,
        ge=2**20,
        description="of unanswered messages over all connections; beyond it reading pauses",
    )
    idle_timeout_s: float = Field(
        3600.0, gt=0, description="a connection silent for longer is closed"
    )
    message_timeout_s: float = Field(
        60.0, gt=0, description="from a message's first byte to its last, whatever comes between"
    )
    tls: TlsSettings | None = Field(None, description="without it: plain text")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return _is_loopback(self.host)


class SenderSettings(_Section):
    """One sender. What is given has to fit, each list by one of its values; * and ? are jokers."""

    applications: tuple[str, ...] = Field((), description="MSH-3, its first component")
    facilities: tuple[str, ...] = Field((), description="MSH-4, its first component")
    networks: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="addresses it connects from, as 10.20.0.0/16"
    )
    certificates: tuple[str, ...] = Field((), description="CN or SAN of its client certificate")
    time_zone: ZoneName | None = Field(None, description="as the general one, for this sender")
    default_charset: Charset | None = Field(None, description="as the general one")
    acknowledge: Literal["auto", "original", "enhanced"] = Field(
        "auto", description="the mode; auto: as MSH-15 and MSH-16 say"
    )

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if not (self.applications or self.facilities or self.networks or self.certificates):
            raise ValueError("give applications, facilities, networks or certificates")
        return self


class HttpSettings(_Section):
    """The FHIR interface and the health checks."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65_535, description="port; 0 takes a free one")
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="bearer token that requests below /fhir have to show; without it ECGs can be "
        "posted on loopback alone",
    )
    max_body_bytes: int = Field(
        16 * 2**20,
        ge=2**16,
        le=2**28,
        description="larger bodies are refused; an Observation of 10 s at 500 Hz has about 200 kB",
    )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return _is_loopback(self.host)

    @property
    def takes_ecgs(self) -> bool:
        """Whether ECGs can be posted: only by this machine, or by who shows the token."""
        return self.loopback or self.token is not None


class FhirSettings(_Section):
    """The FHIR server that reports are posted to."""

    base_url: str | None = Field(
        None,
        pattern=r"^https?://",
        description="base URL; without it reports are only kept and served here",
    )
    token: SecretStr | None = Field(None, description="bearer token")
    timeout_s: float = Field(30.0, gt=0, description="for one request")


class ClientTlsSettings(_Section):
    """TLS towards a receiver; its certificate and name are always verified."""

    ca: Path | None = Field(
        None, description="PEM: who may sign its certificate; by default whom this machine trusts"
    )
    certificate: Path | None = Field(None, description="PEM: our own, for mutual TLS")
    key: Path | None = Field(None, description="PEM: its private key; by default beside it")


class OruSettings(_Section):
    """The HL7 v2 receiver that reports are sent to as ORU^R01."""

    host: str | None = Field(None, description="its name or address; without it none is sent")
    port: int = Field(2575, ge=1, le=65_535, description="its port")
    timeout_s: float = Field(30.0, gt=0, description="for one answer")
    sending_application: str = Field("HISBUNDLE", description="MSH-3")
    sending_facility: str = Field("", description="MSH-4")
    receiving_application: str = Field("", description="MSH-5")
    receiving_facility: str = Field("", description="MSH-6")
    tls: ClientTlsSettings | None = Field(None, description="without it: plain text")


class DeliverySettings(_Section):
    """How long a report is sent again to a destination that does not take it."""

    max_attempts: int = Field(
        50, ge=1, description="tries before a delivery is given up as undeliverable"
    )
    backoff_s: float = Field(2.0, gt=0, description="first wait; doubles, jittered, to an hour")


class WorkerSettings(_Section):
    """Scoring and delivery."""

    pool: Literal["threads", "prefork"] | None = Field(
        None, description="Celery pool; by default threads when embedded, prefork with a broker"
    )
    concurrency: int = Field(2, ge=1, description="ECGs at the same time")
    time_limit_s: float = Field(60.0, gt=0, description="a task that takes longer is killed")
    max_scoring_attempts: int = Field(
        5, ge=1, description="an ECG that broke its worker this often is put aside as failed"
    )
    sweep_interval_s: float | None = Field(
        None,
        gt=0,
        description="pause between two looks for waiting work; by default 0.05 when embedded, "
        "where the sweep is the doorbell, and 5 with a broker",
    )
    ring_grace_s: float = Field(
        120.0,
        gt=0,
        description="how long after its ring a task counts as lost; longer than time_limit_s",
    )

    @model_validator(mode="after")
    def _grace_outlasts_tasks(self) -> Self:
        if self.ring_grace_s <= self.time_limit_s:
            raise ValueError("ring_grace_s must be longer than time_limit_s")
        return self


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix="HISBUNDLE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Field(Path("var"), description="folder of the embedded default's database")
    database_url: SecretStr | None = Field(
        None, description="PostgreSQL URL; by default SQLite under data_dir"
    )
    broker_url: SecretStr | None = Field(
        None, description="RabbitMQ or Redis URL; by default the worker has a queue of its own"
    )
    model_path: Path | None = Field(
        None, description="bundle of the resting model; by default the shipped one"
    )
    strip_model_path: Path | None = Field(
        None, description="bundle of the strip model; by default the shipped one"
    )
    operating_point: Literal["screening", "balanced", "specific"] | None = Field(
        None, description="how readily the resting model flags; by default the bundle's own choice"
    )
    time_zone: ZoneName | None = Field(
        None,
        description="zone of senders' times that carry none; without it such a time keeps "
        "its date alone",
    )
    default_charset: Charset = Field("ascii", description="of messages whose MSH-18 is empty")
    allow_remote_plaintext: bool = Field(
        default=False,
        description="listen beyond loopback, and post to http:// beyond it, although nothing "
        "there encrypts or authenticates",
    )
    allow_unknown_senders: bool = Field(
        default=False,
        description="take messages of senders that no entry under senders fits",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of logs")
    mllp: MllpSettings = MllpSettings()
    http: HttpSettings = HttpSettings()
    fhir: FhirSettings = FhirSettings()
    oru: OruSettings = OruSettings()
    delivery: DeliverySettings = DeliverySettings()
    worker: WorkerSettings = WorkerSettings()
    senders: dict[str, SenderSettings] = Field(
        {}, description="who may send; the first entry that fits a message counts"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the TOML file; no other place."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    @model_validator(mode="after")
    def _plaintext_stays_on_loopback(self) -> Self:
        places = [("http.host", self.http.host)]
        if self.mllp.tls is None:
            places.append(("mllp.host", self.mllp.host))
        url = urlsplit(self.fhir.base_url or "")
        if url.scheme == "http":
            places.append(("fhir.base_url", url.hostname or ""))
        if self.oru.host and self.oru.tls is None:
            places.append(("oru.host", self.oru.host))
        for setting, host in places:
            if not _is_loopback(host) and not self.allow_remote_plaintext:
                raise ValueError(
                    f"{setting}: {host} is not loopback; set allow_remote_plaintext "
                    "only where the network itself protects patients' data"
                )
        return self

    @model_validator(mode="after")
    def _certificates_are_asked_for(self) -> Self:
        asked = self.mllp.tls is not None and self.mllp.tls.client_ca is not None
        for name, sender in self.senders.items():
            if sender.certificates and not asked:
                raise ValueError(f"senders.{name}.certificates needs mllp.tls.client_ca")
        return self

    @property
    def embedded(self) -> bool:
        """Whether no broker is configured: one machine, one process tree."""
        return self.broker_url is None

    @property
    def database(self) -> str:
        """URL of the database."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve() / 'hisbundle.db'}"

    @property
    def zone(self) -> ZoneInfo | None:
        """Zone of times that carry none."""
        return ZoneInfo(self.time_zone) if self.time_zone else None

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where reports go besides the own interface."""
        given = {"fhir": self.fhir.base_url, "oru": self.oru.host}
        return tuple(name for name, place in given.items() if place)


def config_file() -> Path | None:
    """Return the TOML file in force, or None."""
    if name := os.environ.get(CONFIG_VARIABLE):
        return Path(name)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        ConfigError: `settings-invalid` with one line a fault, naming setting and cure but no value.
    """
    file = config_file()
    if file is not None and not file.is_file():
        raise ConfigError("settings-missing", f"{file} does not exist")
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()
        ]
        raise ConfigError("settings-invalid", "; ".join(faults)) from None
    except ValueError as error:  # TOML that cannot be parsed
        raise ConfigError("settings-invalid", f"{file}: {error}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
