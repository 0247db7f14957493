"""What sections of the settings are made of, for those that live beside their protocol."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section: nothing unknown in it, nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClientTlsSettings(Section):
    """TLS towards a receiver; its certificate and name are always verified."""

    ca: Path | None = Field(
        None, description="PEM: who may sign its certificate; by default whom this machine trusts"
    )
    certificate: Path | None = Field(None, description="PEM: our own, for mutual TLS")
    key: Path | None = Field(None, description="PEM: its private key; by default beside it")


Charset = Literal["ascii", "utf-8", "iso8859-1", "iso8859-15"]


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{name!r} is not a known zone") from None
    return name


ZoneName = Annotated[str, AfterValidator(_known_zone)]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
