"""The sections `[kafka]` and `[destinations]` of the kind `kafka`: Kafka in and out."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from integration.sections import ClientTlsSettings, Section, is_loopback


class SaslSettings(Section):
    """How we say who we are."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="PLAIN shows the password to the broker: only with TLS"
    )
    username: str = Field(min_length=1, description="our name at the broker")
    password: SecretStr = Field(min_length=1, description="its password")


class ClusterSettings(Section):
    """A cluster, and how it is reached."""

    bootstrap_servers: str = Field(min_length=1, description="host:port, with commas")
    tls: ClientTlsSettings | None = Field(None, description="without it: plain text")
    sasl: SaslSettings | None = Field(None, description="without it: no name, no password")

    @model_validator(mode="after")
    def _password_stays_hidden(self) -> Self:
        if self.sasl and self.sasl.mechanism == "PLAIN" and self.tls is None:
            raise ValueError("sasl.mechanism PLAIN needs tls")
        return self

    @property
    def servers(self) -> tuple[str, ...]:
        """The brokers to begin with, as `host:port`."""
        servers = [server.strip() for server in self.bootstrap_servers.split(",")]
        return tuple(server for server in servers if server)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Their names or addresses."""
        return tuple(server.rpartition(":")[0].strip("[]") for server in self.servers)

    @property
    def plaintext_host(self) -> str | None:
        """Whom records reach unencrypted, if anybody; one beyond this machine if there is one."""
        if self.tls is not None or not self.hosts:
            return None
        return next((host for host in self.hosts if not is_loopback(host)), self.hosts[0])


class KafkaDestinationSettings(ClusterSettings):
    """A topic that reports are written to."""

    kind: Literal["kafka"] = Field(description="what the destination speaks")
    topic: str = Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$", description="where reports go")
    format: Literal["fhir", "event"] = Field(
        "fhir", description="the report's FHIR Bundle, or compact events"
    )
    timeout_s: float = Field(30.0, ge=1, description="for one report, until it is believed")


class TopicSettings(Section):
    """One topic that is read."""

    format: Literal["fhir", "hl7", "ecg", "chunk"] | None = Field(
        None,
        description="of records whose content-type does not tell; unset: their own first bytes",
    )


class KafkaSettings(ClusterSettings):
    """Kafka in."""

    bootstrap_servers: str = Field(
        "", description="host:port, with commas; without it nothing here speaks Kafka"
    )
    group: str = Field("hisbundle", min_length=1, description="consumer group of all listeners")
    dead_letter_topic: str = Field(
        "hisbundle.dead-letters", min_length=1, description="where refused records go, untouched"
    )
    start: Literal["earliest", "latest"] = Field(
        "earliest", description="where a group begins that has no offsets, or has lost them"
    )
    max_record_bytes: int = Field(
        16 * 2**20, ge=2**16, le=2**26, description="larger values are refused, also unpacked"
    )
    max_poll_records: int = Field(
        64, ge=1, le=10_000, description="records between two commits of offsets"
    )
    fetch_bytes: int = Field(
        32 * 2**20, ge=2**20, description="that a broker may send at once; bounds the memory"
    )
    session_timeout_s: float = Field(
        45.0, ge=6, description="a listener silent for longer loses its partitions to others"
    )
    topics: dict[str, TopicSettings] = Field(
        {}, description="which are read, by name; without one nothing is"
    )

    @model_validator(mode="after")
    def _topics_have_a_cluster(self) -> Self:
        if self.topics and not self.bootstrap_servers:
            raise ValueError("topics need bootstrap_servers")
        if self.dead_letter_topic in self.topics:
            raise ValueError("dead_letter_topic is read too: what is refused would come again")
        return self
