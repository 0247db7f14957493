"""`hisbundle bench mllp`: durable messages a second, beside a server that only answers."""

import asyncio
import json
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from integration.cli.bench_serving import LISTENER, machine, quantiles_ms, resident_mib, serving
from integration.cli.progress import progress

PEER = "hl7"  # a package of the development extra
_PEER_LIMIT_BYTES = 8 * 2**20  # its server's own default breaks on an ECG
_PLACE = b"%%%%%%%%%%%%"  # where a message's own MSH-10 goes
_MAX_CONNECTIONS = 100
_SMALL = (
    "MSH|^~\\&|BENCH|WARD|HIS|HOSP|20260102030405+0100||ADT^A01^ADT_A01|{}|P|2.5.1",
    "EVN|A01|20260102030405+0100|||CLERK^ON^DUTY",
    "PID|1||4711^^^HOSP^MR||BENCH^PERSON^A||19700101|F|||1 STREET^^TOWN^^1000^AUT||+43-1-0000000",
    "NK1|1|BENCH^RELATIVE|SPO|1 STREET^^TOWN^^1000^AUT|+43-1-0000001",
    "PV1|1|I|WARD^12^B^HOSP||||1234^DOCTOR^ONE|||CAR||||A0|||1234^DOCTOR^ONE|INP|V1^^^HOSP^VN",
    "AL1|1|DA|PENICILLIN^PENICILLIN|MO|RASH",
    "",
)

_Serving = Callable[[], AbstractContextManager[tuple[int, int]]]


@dataclass(frozen=True)
class _Load:
    """One run: messages of a kind, over so many connections, each waiting for its answers."""

    kind: str
    template: bytes
    connections: int
    messages: int


def numbers(largest: int) -> Callable[[click.Context, click.Parameter, str], tuple[int, ...]]:
    """Return an option's callback: numbers with commas, each from 1 to `largest`."""

    def read(_context: click.Context, _option: click.Parameter, value: str) -> tuple[int, ...]:
        try:
            found = tuple(int(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter("give numbers with commas, such as 1,8,32") from None
        if not all(1 <= number <= largest for number in found):
            raise click.BadParameter(f"numbers are 1 to {largest}")
        return found

    return read


@click.command()
@click.option(
    "--messages",
    type=click.IntRange(1, 10_000_000),
    default=2000,
    show_default=True,
    help="small messages a run; of ECGs a tenth as many",
)
@click.option(
    "--connections",
    default="1,50",
    show_default=True,
    callback=numbers(_MAX_CONNECTIONS),
    help="senders at the same time",
)
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(["small", "ecg"]), help="[default: both]"
)
@click.option("--peer/--no-peer", default=True, help=f"also measure the server of package {PEER}")
@click.option("--json", "as_json", is_flag=True, help="print all figures as JSON")
def mllp(
    *,
    messages: int,
    connections: tuple[int, ...],
    kinds: tuple[str, ...],
    peer: bool,
    as_json: bool,
) -> None:
    """Time a listener of its own, with SQLite in a folder of its own, from message to answer.

    Every message is new, and is acknowledged after its commit. The other server parses and
    acknowledges, and stores nothing. No worker runs.
    """
    loads = _loads(messages, connections, kinds or ("small", "ecg"))
    servers: dict[str, _Serving] = {"hisbundle": _hisbundle}
    if peer and _peer_version():
        servers[PEER] = _peer
    rows = []
    with progress("measuring", len(loads) * len(servers)) as advance:
        for load in loads:
            for name, serving in servers.items():
                with serving() as (port, pid):
                    rows.append({"server": name} | _measure(load, port, pid))
                advance()
    figures = {
        "command": f"hisbundle bench mllp --messages {messages} "
        f"--connections {','.join(map(str, connections))}",
        "machine": machine(),
        "versions": {"python": platform.python_version(), PEER: _peer_version()},
        "runs": rows,
    }
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(rows)


def _loads(messages: int, connections: tuple[int, ...], kinds: tuple[str, ...]) -> list[_Load]:
    templates = {"small": small_message, "ecg": ecg_message}
    shares = {"small": messages, "ecg": max(messages // 10, 1)}
    return [
        _Load(kind, templates[kind](), number, max(shares[kind], number))
        for kind in kinds
        for number in connections
    ]


def small_message() -> bytes:
    """Return an ADT^A01 of half a kilobyte, `_PLACE` for its MSH-10."""
    return "\r".join(_SMALL).format(_PLACE.decode()).encode()


def ecg_message() -> bytes:
    """Return an ORU^R01 with 12 leads of 10 s at 500 Hz, 261 kB, `_PLACE` for its MSH-10."""
    from db.records import NewExam, PatientRef  # noqa: PLC0415 - help stays quick
    from integration.hl7v2.encode import encode_ecg  # noqa: PLC0415
    from model.simulate import simulate  # noqa: PLC0415

    now = datetime.now(UTC)
    return encode_ecg(
        NewExam(PatientRef("4711", "HOSP"), simulate("noisy", seed=7), now, "ORDER"),
        control_id=_PLACE.decode(),
        sender_application="BENCH",
        sender_facility="WARD",
        now=now,
    )


def _measure(load: _Load, port: int, pid: int) -> dict[str, Any]:
    before = resident_mib(pid)
    seconds, waits_ms, refused = asyncio.run(_send(load, port))
    p50_ms, p99_ms = quantiles_ms(waits_ms)
    return {
        "kind": load.kind,
        "bytes": len(load.template),
        "connections": load.connections,
        "messages": len(waits_ms),
        "not_accepted": refused,
        "per_second": round(len(waits_ms) / seconds, 1),
        "ack_p50_ms": p50_ms,
        "ack_p99_ms": p99_ms,
        "resident_before_mib": before,
        "resident_after_mib": resident_mib(pid),
    }


async def _send(load: _Load, port: int) -> tuple[float, list[float], int]:
    """Return the seconds it took, what each answer took in ms, and how many were not AA."""
    left = iter(range(load.messages))
    waits_ms: list[float] = []
    refused = 0
    before, after = load.template.split(_PLACE)

    async def converse() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            started = time.perf_counter()
            writer.write(b"\x0b%b%012d%b\x1c\r" % (before, number, after))
            answer = await reader.readuntil(b"\x1c\r")
            waits_ms.append((time.perf_counter() - started) * 1e3)
            refused += b"\rMSA|AA|%012d" % number not in answer
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(converse() for _ in range(load.connections)))
    return time.perf_counter() - started, waits_ms, refused


@contextmanager
def _hisbundle() -> Iterator[tuple[int, int]]:
    """Run a listener without a worker; yield its port and process id."""
    with serving(LISTENER, re.compile(r"listening mllp=[^ ]*:(\d+)")) as told:
        yield told


@contextmanager
def _peer() -> Iterator[tuple[int, int]]:
    """Run the other package's server; yield its port and process id."""
    program = "from integration.cli.bench_mllp import serve_peer; serve_peer()"
    with serving([sys.executable, "-P", "-c", program], re.compile(r"port (\d+)")) as told:
        yield told


def _peer_version() -> str | None:
    try:
        return version(PEER)
    except PackageNotFoundError:
        return None


def serve_peer() -> None:
    """Run the other package's server on a free port, as its documentation shows it."""
    from hl7.mllp import start_hl7_server  # noqa: PLC0415 - of the development extra

    async def acknowledge(reader: Any, writer: Any) -> None:  # noqa: ANN401 - untyped package
        with suppress(asyncio.IncompleteReadError):
            while not writer.is_closing():
                message = await reader.readmessage()
                writer.writemessage(message.create_ack())
                await writer.drain()
        writer.close()

    async def main() -> None:
        server = await start_hl7_server(
            acknowledge, "127.0.0.1", 0, encoding="utf-8", limit=_PEER_LIMIT_BYTES
        )
        async with server:
            click.echo(f"port {server.sockets[0].getsockname()[1]}")
            await server.serve_forever()

    asyncio.run(main())


def _print(rows: list[dict[str, Any]]) -> None:
    title = "Messages acknowledged a second; hisbundle's after their commit, with SQLite"
    table = Table(title=title, title_justify="left")
    for column in ("server", "message", "senders", "a second", "ack p50, p99 ms", "memory MiB"):
        table.add_column(column, justify="left" if column in {"server", "message"} else "right")
    for row in rows:
        table.add_row(
            row["server"],
            f"{row['kind']}, {row['bytes']:,} B x {row['messages']:,}",
            str(row["connections"]),
            f"{row['per_second']:.0f}",
            f"{row['ack_p50_ms']:.1f}, {row['ack_p99_ms']:.1f}",
            f"{row['resident_before_mib']:.0f} - {row['resident_after_mib']:.0f}",
        )
    Console().print(table)
