"""Settings: environment over a TOML file over defaults that need no server.

Every process reads them once, at its root, and passes plain values down. A variable is named after
its setting: `HISBUNDLE_MLLP__PORT` is `port` under `[mllp]`. `deploy/hisbundle.example.toml` shows
them all; a test keeps it complete.
"""

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from integration.alarms import AlarmsSettings
from integration.critical import CriticalSettings
from integration.errors import ConfigError
from integration.fhir.settings import FhirDestinationSettings, HttpSettings, SourceSettings
from integration.hl7v2.settings import MllpSettings, OruDestinationSettings, SenderSettings
from integration.kafka.settings import KafkaDestinationSettings, KafkaSettings
from integration.sections import Charset, Section, ZoneName, is_loopback
from integration.security.settings import EncryptionSettings, RolesSettings

CONFIG_VARIABLE = "HISBUNDLE_CONFIG"
DEFAULT_FILE = Path("hisbundle.toml")
_TESTS_OWN = "HISBUNDLE_TEST_"  # servers that the tests may use
_UNKNOWN = "there is no such setting"

DestinationSettings = Annotated[
    FhirDestinationSettings | OruDestinationSettings | KafkaDestinationSettings,
    Field(discriminator="kind"),
]
# Lower case, since that is how names of environment variables are read.
DestinationName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class DeliverySettings(Section):
    """How long a report is sent again to a destination that does not take it."""

    max_attempts: int = Field(
        50, ge=1, description="tries before a delivery is given up as undeliverable"
    )
    backoff_s: float = Field(2.0, gt=0, description="first wait; doubles, jittered, to an hour")


class StorageSettings(Section):
    """Room for the database: what comes in is refused before nothing works any more."""

    warn_free_bytes: int = Field(
        4 * 2**30, ge=0, description="less free on the disk of the SQLite file is told in the log"
    )
    refuse_free_bytes: int = Field(
        2**30, ge=0, description="with less, new messages are answered: come again later"
    )
    max_database_bytes: int | None = Field(
        None, gt=0, description="the same for the database's own size; told from nine tenths on"
    )


class RetentionSettings(Section):
    """How many days each kind is kept by `hisbundle retention run`; without a number for ever."""

    messages_days: int | None = Field(None, ge=1, description="bytes of messages whose ECGs ended")
    waveforms_days: int | None = Field(None, ge=1, description="samples of ECGs that ended")
    assessments_days: int | None = Field(None, ge=1, description="findings, reports, deliveries")
    errors_days: int | None = Field(
        None, ge=1, description="refused messages, failed and undeliverable ECGs"
    )
    audit_days: int | None = Field(None, ge=180, description="the audit log")
    recordings_days: int | None = Field(
        None, ge=1, description="samples and windows of continuous recordings"
    )


class WorkerSettings(Section):
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
    heartbeat_file: Path | None = Field(
        None,
        description="touched every few seconds while the worker lives, for `hisbundle worker "
        "--check`; one for each worker; by default worker.alive under data_dir",
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
    keys_dir: Path | None = Field(
        None, description="folder of our signing keys; by default keys under data_dir"
    )
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
    allow_later_schema: bool = Field(
        default=False,
        description="start on the schema of the release after this one, to roll back to this one",
    )
    mode: Literal["live", "silent"] = Field(
        "live",
        description="silent: everything is stored and measured, and nothing is sent: for the time "
        "before a site goes live",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of logs")
    log_format: Literal["plain", "json"] = Field(
        "plain", description="a line of text or a JSON object for each event"
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://",
        description="collector of OpenTelemetry that gets each ECG's way as a trace, by HTTP",
    )
    mllp: MllpSettings = MllpSettings()
    http: HttpSettings = HttpSettings()
    kafka: KafkaSettings = KafkaSettings()
    delivery: DeliverySettings = DeliverySettings()
    critical: CriticalSettings = CriticalSettings()
    worker: WorkerSettings = WorkerSettings()
    alarms: AlarmsSettings = AlarmsSettings()
    storage: StorageSettings = StorageSettings()
    retention: RetentionSettings = RetentionSettings()
    encryption: EncryptionSettings = EncryptionSettings()
    roles: RolesSettings = RolesSettings()
    senders: dict[str, SenderSettings] = Field(
        {}, description="who may send; the first entry that fits a message counts"
    )
    sources: dict[DestinationName, SourceSettings] = Field(
        {}, description="FHIR servers that ECGs are read from, by name"
    )
    destinations: dict[DestinationName, DestinationSettings] = Field(
        {}, description="where reports go, by name; without one they are only served here"
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
        if self.http.introspection is not None:
            where = urlsplit(self.http.introspection.url)
            places += [("http.introspection.url", where.hostname or "")] * (where.scheme == "http")
        if self.mllp.tls is None:
            places.append(("mllp.host", self.mllp.host))
        others = {f"destinations.{name}": d.plaintext_host for name, d in self.destinations.items()}
        others |= {f"sources.{name}": s.plaintext_host for name, s in self.sources.items()}
        others |= {"kafka.bootstrap_servers": self.kafka.plaintext_host}
        places += [(name, host) for name, host in others.items() if host is not None]
        for setting, host in places:
            if not is_loopback(host) and not self.allow_remote_plaintext:
                raise ValueError(
                    f"{setting}: {host} is not loopback; set allow_remote_plaintext "
                    "only where the network itself protects patients' data"
                )
        return self

    @model_validator(mode="after")
    def _tokens_are_asked_for_beyond_loopback(self) -> Self:
        if not self.http.loopback and not self.http.asks_for_tokens:
            raise ValueError(
                f"http.host: {self.http.host} is not loopback; set http.token, http.jwt or "
                "http.introspection"
            )
        for name, source in self.sources.items():
            if source.notify_token is not None and not self.http.asks_for_tokens:
                raise ValueError(
                    f"sources.{name}.notify_token: nobody asks for it; set http.token, http.jwt "
                    "or http.introspection"
                )
        return self

    @model_validator(mode="after")
    def _a_notify_token_names_one_source(self) -> Self:
        known = {self.http.token: "http.token"}
        for name, source in self.sources.items():
            place, token = f"sources.{name}.notify_token", source.notify_token
            if token is not None and known.setdefault(token, place) != place:
                raise ValueError(f"{place}: {known[token]} is the same; it has to name its source")
        return self

    @model_validator(mode="after")
    def _certificates_are_asked_for(self) -> Self:
        asked = self.mllp.tls is not None and self.mllp.tls.client_ca is not None
        for name, sender in self.senders.items():
            if sender.certificates and not asked:
                raise ValueError(f"senders.{name}.certificates needs mllp.tls.client_ca")
        return self

    @model_validator(mode="after")
    def _requests_end_before_tasks(self) -> Self:
        limit_s = self.worker.time_limit_s
        for name, destination in self.destinations.items():
            if destination.timeout_s >= limit_s:
                raise ValueError(
                    f"destinations.{name}.timeout_s must be less than worker.time_limit_s, "
                    f"which is {limit_s:g}"
                )
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
    def heartbeat_file(self) -> Path:
        """What the worker of this installation touches."""
        return self.worker.heartbeat_file or self.data_dir / "worker.alive"

    @property
    def keys_folder(self) -> Path:
        """Where our signing keys are."""
        return self.keys_dir or self.data_dir / "keys"

    @property
    def zone(self) -> ZoneInfo | None:
        """Zone of times that carry none."""
        return ZoneInfo(self.time_zone) if self.time_zone else None


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
    faults = [f"{name}: {_UNKNOWN}" for name in _unknown_variables()]
    try:
        settings = Settings()
    except ValidationError as error:
        faults += [f"{_setting(e['loc'])}: {_fault(e)}" for e in error.errors()]
        raise ConfigError("settings-invalid", "; ".join(faults)) from None
    except ValueError as error:  # TOML that cannot be parsed
        raise ConfigError("settings-invalid", f"{file}: {error}") from None
    if faults:
        raise ConfigError("settings-invalid", "; ".join(faults))
    return settings


def _unknown_variables() -> list[str]:
    """Return the variables that are called like settings and are none; pydantic reads past them.

    What comes behind two underscores pydantic holds against the section itself.
    """
    prefix = str(Settings.model_config["env_prefix"]).lower()
    known = {prefix + name for name in Settings.model_fields}
    return sorted(
        name
        for name in os.environ
        if name.lower().startswith(prefix)
        and name.lower().partition("__")[0] not in known
        and name != CONFIG_VARIABLE
        and not name.startswith(_TESTS_OWN)
    )


def _fault(error: ErrorDetails) -> str:
    return _UNKNOWN if error["type"] == "extra_forbidden" else error["msg"]


def _setting(loc: tuple[int | str, ...]) -> str:
    """Return the name of what a fault is about."""
    if loc[:1] == ("destinations",):  # pydantic puts the kind between name and setting
        loc = (*loc[:2], *loc[3:])
    return ".".join(map(str, loc)) or "settings"
