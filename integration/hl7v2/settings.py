"""The sections `[mllp]`, `[senders]` and `[destinations]` of the kind `oru`: HL7 v2 in and out."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from integration.sections import Charset, ClientTlsSettings, Section, ZoneName, is_loopback


class TlsSettings(Section):
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


class MllpSettings(Section):
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
        return is_loopback(self.host)


LeadName = Literal["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


class SenderSettings(Section):
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
    leads: dict[str, LeadName] = Field(
        {}, description="its own words for leads, codes or names, as they stand in its messages"
    )
    decides: bool = Field(
        default=False, description="may confirm, amend and withdraw our reports by ORU^R01: an EHR"
    )

    @model_validator(mode="after")
    def _is_somebody(self) -> Self:
        if not (self.applications or self.facilities or self.networks or self.certificates):
            raise ValueError("give applications, facilities, networks or certificates")
        return self


class OruDestinationSettings(Section):
    """An HL7 v2 receiver that reports are sent to as ORU^R01."""

    kind: Literal["oru"] = Field(description="what the destination speaks")
    host: str = Field(min_length=1, description="its name or address")
    port: int = Field(2575, ge=1, le=65_535, description="its port")
    timeout_s: float = Field(30.0, gt=0, description="for one message and its answer")
    sending_application: str = Field("HISBUNDLE", description="MSH-3")
    sending_facility: str = Field("", description="MSH-4")
    receiving_application: str = Field("", description="MSH-5")
    receiving_facility: str = Field("", description="MSH-6")
    tls: ClientTlsSettings | None = Field(None, description="without it: plain text")

    @property
    def plaintext_host(self) -> str | None:
        """Whom reports reach unencrypted, if anybody."""
        return self.host if self.tls is None else None
