"""Who may send, and how each sender's messages are read and answered.

A message names its sender in MSH-3 and MSH-4, which anybody can write; so an entry may also demand
the network that it comes from and the client certificate that it came with. A message that no entry
names is refused as `unknown-sender`, one that comes from elsewhere as `sender-not-allowed`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address
from zoneinfo import ZoneInfo

from integration.config import Settings
from integration.errors import ConfigError, Refused
from integration.hl7v2.header import Header
from integration.hl7v2.modes import AckMode
from integration.hl7v2.settings import SenderSettings

DENIED = frozenset({"unknown-sender", "sender-not-allowed"})


@dataclass(frozen=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: IP address.
        certificate_names: CN and SAN of its verified client certificate; none without one.
        replayed: whether this is a message that is here already, let in when it came.
    """

    address: str
    certificate_names: frozenset[str] = frozenset()
    replayed: bool = False


@dataclass(frozen=True)
class Sender:
    """How a sender's messages are read and answered.

    Attributes:
        name: its entry in the settings, or "" where none fits and none has to.
        default_charset: Python codec of messages whose MSH-18 is empty.
        zone: of time stamps without one, or None.
        ack_mode: original, enhanced, or as each message says.
        leads: its own word for a lead, a code or a name -> the lead.
        decides: whether it may decide on our reports.
    """

    name: str
    default_charset: str
    zone: tzinfo | None
    ack_mode: AckMode = AckMode.AUTO
    leads: Mapping[str, str] = field(default_factory=dict)
    decides: bool = False


@dataclass(frozen=True)
class Entry:
    """A sender, and what tells its messages from others'; an empty field asks for nothing."""

    sender: Sender
    applications: tuple[str, ...] = ()
    facilities: tuple[str, ...] = ()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    certificates: tuple[str, ...] = ()

    def names(self, application: str, facility: str) -> bool:
        """Tell whether a message that says so is this sender's."""
        return _fits([application], self.applications) and _fits([facility], self.facilities)

    def admits(self, peer: Peer) -> bool:
        """Tell whether this sender may be there."""
        if peer.replayed:
            return True
        address = ip_address(peer.address)
        mapped = getattr(address, "ipv4_mapped", None) or address  # of a socket for both versions
        near = not self.networks or any(mapped in network for network in self.networks)
        shown = [name.lower() for name in peer.certificate_names]
        return near and _fits(shown, [pattern.lower() for pattern in self.certificates])


class Senders:
    """The table of senders."""

    def __init__(self, entries: Sequence[Entry], default: Sender, *, closed: bool) -> None:
        """Take the entries in their order.

        Args:
            entries: the first that fits counts.
            default: whose way messages are read that no entry names, and that tell no sender.
            closed: whether the former are refused.
        """
        self._entries = tuple(entries)
        self._closed = closed
        self.default = default

    def resolve(self, header: Header, peer: Peer) -> Sender:
        """Return who sent a message.

        Raises:
            Refused: `unknown-sender`, `sender-not-allowed`.
        """
        application, _, facility = header.sender.partition("^")
        named = [entry for entry in self._entries if entry.names(application, facility)]
        for entry in named:
            if entry.admits(peer):
                return entry.sender
        if named:
            detail = "this sender may not send from there, or not with this certificate"
            raise Refused("sender-not-allowed", detail, ("MSH", 1, 3))
        if self._closed:
            raise Refused("unknown-sender", "no such sender is set up here", ("MSH", 1, 3))
        return self.default


def senders_of(settings: Settings) -> Senders:
    """Return the table that the settings describe.

    Without one only the embedded default on loopback takes what comes.

    Raises:
        ConfigError: `senders-missing`.
    """
    private = settings.embedded and settings.mllp.loopback
    if not (settings.senders or private or settings.allow_unknown_senders):
        detail = "say under [senders] who may send, or set allow_unknown_senders"
        raise ConfigError("senders-missing", detail)
    default = Sender("", settings.default_charset, settings.zone, decides=private)
    entries = [_entry(name, one, default) for name, one in settings.senders.items()]
    closed = bool(entries) and not settings.allow_unknown_senders
    return Senders(entries, default, closed=closed)


def _entry(name: str, settings: SenderSettings, default: Sender) -> Entry:
    sender = Sender(
        name,
        settings.default_charset or default.default_charset,
        ZoneInfo(settings.time_zone) if settings.time_zone else default.zone,
        AckMode(settings.acknowledge),
        settings.leads,
        settings.decides,
    )
    return Entry(
        sender,
        settings.applications,
        settings.facilities,
        settings.networks,
        settings.certificates,
    )


def _fits(texts: Iterable[str], patterns: Sequence[str]) -> bool:
    """Tell whether one of the texts fits one of the patterns, or none is asked for."""
    if not patterns:
        return True
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)
