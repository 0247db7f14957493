"""`hisbundle send`."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from integration.cli.progress import Advance, progress
from integration.errors import Refused
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.client import MllpClient
from integration.hl7v2.framing import VT, Frame, Framer
from integration.hl7v2.header import parse_header
from integration.security.tls import client_context

_MAX_MESSAGE_BYTES = 2**28
_MANY = 20  # from here on a progress bar is worth its line
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_START = re.compile(rb"(?:^|(?<=[\r\n]))(?=MSH[^\w\s])")


@dataclass(frozen=True)
class Sent:
    """What became of one message.

    Attributes:
        file: where it came from.
        control_id: its MSH-10.
        code: MSA-1, or "" when no answer to this message came.
        texts: what the answer says is wrong.
    """

    file: str
    control_id: str
    code: str
    texts: tuple[str, ...]


@click.group()
def send() -> None:
    """Send messages as a hospital system would."""


@send.command()
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--host", default="127.0.0.1", show_default=True, help="where the listener is")
@click.option(
    "--port", default=2575, show_default=True, type=click.IntRange(1, 65_535), help="its port"
)
@click.option(
    "--timeout",
    "timeout_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="seconds to wait for an answer",
)
@click.option("--tls", "with_tls", is_flag=True, help="secure the connection")
@click.option("--ca", type=_FILE, help="who may sign the listener's certificate  [implies --tls]")
@click.option("--certificate", type=_FILE, help="the sender's own, for mutual TLS [implies --tls]")
@click.option("--key", type=_FILE, help="its private key  [default: in the same file]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def mllp(
    *,
    files: tuple[Path, ...],
    host: str,
    port: int,
    timeout_s: float,
    with_tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Send HL7 v2 messages from FILES over MLLP and print each answer.

    A file holds one message or several, in MLLP blocks or one after the other. Ends with status 0
    when all were accepted (AA), else with 1.
    """
    messages = [(path, message) for path in files for message in _messages_of(path)]
    tls = client_context(ca, certificate, key) if with_tls or ca or certificate else None
    many = len(messages) >= _MANY
    with progress("sending", len(messages)) if many else nullcontext(lambda: None) as advance:
        sent = list(_send_all(messages, lambda: MllpClient(host, port, timeout_s, tls), advance))
    accepted = sum(one.code == "AA" for one in sent)
    if as_json:
        told = [asdict(one) for one in sent]
        click.echo(json.dumps({"sent": len(sent), "accepted": accepted, "messages": told}))
    else:
        for one in sent:
            click.echo(" ".join([one.file, one.control_id or "-", one.code or "-", *one.texts]))
    if accepted < len(messages):
        raise click.exceptions.Exit(1)


def split_messages(data: bytes) -> list[bytes]:
    """Return a file's messages: its MLLP blocks, or what starts with MSH at a line's start."""
    if VT in data:
        framer = Framer(_MAX_MESSAGE_BYTES)
        received = [*framer.feed(data), *framer.close()]
        return [one.payload for one in received if isinstance(one, Frame)]
    starts = [match.start() for match in _START.finditer(data)]
    ends = [*starts, len(data)][1:]
    return [data[a:b] for a, b in zip(starts, ends, strict=True)]


def _messages_of(path: Path) -> list[bytes]:
    messages = split_messages(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    if not messages:
        raise click.BadParameter(f"{path} holds no HL7 v2 message", param_hint="FILES")
    return messages


def _send_all(
    messages: list[tuple[Path, bytes]], connect: Callable[[], MllpClient], advance: Advance
) -> Iterator[Sent]:
    """Yield what became of each; a connection that failed one message is not used for the next."""
    client: MllpClient | None = None
    try:
        for path, message in messages:
            client = client or _connected(connect)
            sent = _exchange(client, str(path), message)
            if not sent.code:
                client.close()
                client = None
            advance()
            yield sent
    finally:
        if client is not None:
            client.close()


def _connected(connect: Callable[[], MllpClient]) -> MllpClient:
    try:
        return connect()
    except OSError as error:
        raise click.ClickException(f"cannot connect: {error.strerror or error}") from None


def _exchange(client: MllpClient, file: str, message: bytes) -> Sent:
    try:
        control_id = parse_header(message, "latin-1").control_id
    except Refused:
        control_id = ""  # sent all the same: what the listener says to it is the point
    try:
        answer = read_acknowledgement(client.exchange(message))
    except TimeoutError:
        return Sent(file, control_id, "", ("no answer in time",))
    except OSError as error:
        return Sent(file, control_id, "", (error.strerror or str(error),))
    except Refused as error:
        return Sent(file, control_id, "", (f"unreadable answer: {error.reason}",))
    if answer.control_id != control_id:
        return Sent(file, control_id, "", ("the answer is to another message",))
    return Sent(file, control_id, answer.code, answer.texts)
