"""`hisbundle bench fhir`: durable FHIR bodies a second, and what their decoding costs."""

import asyncio
import json
import platform
import re
import statistics
import time
from dataclasses import dataclass
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from integration.cli.bench_mllp import numbers
from integration.cli.bench_serving import LISTENER, machine, quantiles_ms, resident_mib, serving
from integration.cli.progress import progress
from integration.fhir.codes import MDC, UCUM, Json

_PLACE = b"%%%%%%%%%%%%"  # where a body's own identifier goes
_MAX_CONNECTIONS = 100
_STEP_UV = 5
_DECODES = 50
_PATIENT = {"identifier": {"system": "urn:bench", "value": "4711"}}


@dataclass(frozen=True)
class _Load:
    """One run: bodies of a kind, over so many connections, each waiting for its answers."""

    kind: str
    path: str
    template: bytes
    connections: int
    bodies: int


@click.command()
@click.option(
    "--bodies",
    type=click.IntRange(1, 10_000_000),
    default=1000,
    show_default=True,
    help="small bodies a run; of ECGs a tenth as many",
)
@click.option(
    "--connections",
    default="1,16",
    show_default=True,
    callback=numbers(_MAX_CONNECTIONS),
    help="clients at the same time",
)
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(["small", "ecg"]), help="[default: both]"
)
@click.option("--json", "as_json", is_flag=True, help="print all figures as JSON")
def fhir(
    *, bodies: int, connections: tuple[int, ...], kinds: tuple[str, ...], as_json: bool
) -> None:
    """Time a FHIR interface of its own, with SQLite in a folder of its own; and reports sent.

    Every body is new, and is answered after its commit. No worker runs. ECGs are Observations of
    12 leads, 10 s, 500 Hz; small ones are batches with an Observation that is none. Reports, a
    tenth as many, are built, drawn and posted to a receiver that only counts them.
    """
    from integration.cli.bench_fhir_out import measure_out  # noqa: PLC0415 - help stays quick

    loads = _loads(bodies, connections, kinds or ("small", "ecg"))
    rows = []
    with progress("measuring", len(loads)) as advance:
        for load in loads:
            with serving(LISTENER, re.compile(r"listening .* http=[^ ]*:(\d+)")) as (port, pid):
                rows.append(_measure(load, port, pid))
            advance()
    figures = {
        "command": f"hisbundle bench fhir --bodies {bodies} "
        f"--connections {','.join(map(str, connections))}",
        "machine": machine(),
        "versions": {"python": platform.python_version()},
        "decode": _decode(),
        "in": rows,
        "out": measure_out(max(bodies // 10, 1), connections),
    }
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(figures)


def _loads(bodies: int, connections: tuple[int, ...], kinds: tuple[str, ...]) -> list[_Load]:
    made = {
        "small": ("/fhir", small_body(), bodies),
        "ecg": ("/fhir/Observation", ecg_body(), max(bodies // 10, 1)),
    }
    return [
        _Load(kind, made[kind][0], made[kind][1], number, max(made[kind][2], number))
        for kind in kinds
        for number in connections
    ]


def small_body() -> bytes:
    """Return a batch with a heart rate, `_PLACE` for its identifier."""
    code = {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]}
    value = {"value": 71, "unit": "/min", "system": UCUM, "code": "/min"}
    resource = _observation(code) | {"valueQuantity": value}
    entry = {"resource": resource, "request": {"method": "POST", "url": "Observation"}}
    return orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": [entry]})


def ecg_body() -> bytes:
    """Return an Observation of 12 leads, 10 s, 500 Hz, `_PLACE` for its identifier."""
    import numpy as np  # noqa: PLC0415 - help stays quick

    from model.simulate import simulate  # noqa: PLC0415

    ecg = simulate("noisy", seed=7)
    counts = np.rint(ecg.voltage_mv * 1000 / _STEP_UV).astype(int)
    origin = {"value": 0, "unit": "uV", "system": UCUM, "code": "uV"}
    period_ms = 1000 / ecg.sampling_rate_hz
    scale = {"origin": origin, "period": period_ms, "factor": _STEP_UV, "dimensions": 1}
    components = [
        {"code": {"text": f"Lead {lead}"}, "valueSampledData": scale | {"data": _text(row)}}
        for lead, row in zip(ecg.leads, counts.tolist(), strict=True)
    ]
    code = {"coding": [{"system": MDC, "code": "131328", "display": "MDC_ECG_ELEC_POTL"}]}
    return orjson.dumps(_observation(code) | {"component": components})


def _observation(code: Json) -> Json:
    return {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:bench", "value": _PLACE.decode()}],
        "status": "final",
        "code": code,
        "subject": _PATIENT,
        "effectiveDateTime": "2026-01-02T03:04:05+01:00",
    }


def _text(counts: list[int]) -> str:
    return " ".join(map(str, counts))


def _decode() -> dict[str, Any]:
    """Return what it costs to get from an Observation's bytes to an Ecg: CPU time of one core."""
    from integration.fhir.decode import decode  # noqa: PLC0415

    raw, times_ms = ecg_body(), []
    for _ in range(_DECODES):
        started = time.process_time()
        decode(raw)
        times_ms.append((time.process_time() - started) * 1e3)
    median_ms, best_ms = statistics.median(times_ms), min(times_ms)
    return {"bytes": len(raw), "cpu_ms": round(median_ms, 2), "best_cpu_ms": round(best_ms, 2)}


def _measure(load: _Load, port: int, pid: int) -> dict[str, Any]:
    before = resident_mib(pid)
    seconds, waits_ms, refused = asyncio.run(_send(load, port))
    p50_ms, p99_ms = quantiles_ms(waits_ms)
    return {
        "kind": load.kind,
        "bytes": len(load.template),
        "connections": load.connections,
        "bodies": len(waits_ms),
        "not_accepted": refused,
        "per_second": round(len(waits_ms) / seconds, 1),
        "answer_p50_ms": p50_ms,
        "answer_p99_ms": p99_ms,
        "resident_before_mib": before,
        "resident_after_mib": resident_mib(pid),
    }


async def _send(load: _Load, port: int) -> tuple[float, list[float], int]:
    """Return the seconds it took, what each answer took in ms, and how many were refusals.

    HTTP is written by hand: a client library would take longer than the server.
    """
    left = iter(range(load.bodies))
    waits_ms: list[float] = []
    refused = 0
    before, after = load.template.split(_PLACE)
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/fhir+json\r\n"
        f"Content-Length: {len(load.template)}\r\n\r\n"
    ).encode()

    async def converse() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            started = time.perf_counter()
            writer.write(b"%b%b%012d%b" % (head, before, number, after))
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", answer)
            body = await reader.readexactly(int(length[1]) if length else 0)
            waits_ms.append((time.perf_counter() - started) * 1e3)
            # A batch is answered with 200, whatever became of its entries.
            refused += answer[9:12] not in {b"200", b"201"} or b'"severity":"error"' in body
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(converse() for _ in range(load.connections)))
    return time.perf_counter() - started, waits_ms, refused


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    decode = figures["decode"]
    words = f"An Observation of {decode['bytes']:,} B to millivolts: {decode['cpu_ms']} ms"
    console.print(f"{words} of one core, {decode['best_cpu_ms']} ms at best", highlight=False)
    title = "Bodies answered a second, after their commit, with SQLite"
    table = Table(title=title, title_justify="left")
    for column in ("body", "clients", "a second", "answer p50, p99 ms", "memory MiB"):
        table.add_column(column, justify="left" if column == "body" else "right")
    for row in figures["in"]:
        table.add_row(
            f"{row['kind']}, {row['bytes']:,} B x {row['bodies']:,}",
            str(row["connections"]),
            f"{row['per_second']:.0f}",
            f"{row['answer_p50_ms']:.1f}, {row['answer_p99_ms']:.1f}",
            f"{row['resident_before_mib']:.0f} - {row['resident_after_mib']:.0f}",
        )
    console.print(table)
    table = Table(title="Reports with their page, sent a second", title_justify="left")
    for column in ("connections", "a second", "post p50, p99 ms", "processor ms a report"):
        table.add_column(column, justify="right")
    for row in figures["out"]:
        table.add_row(
            str(row["connections"]),
            f"{row['a_second']:.0f}",
            f"{row['post_p50_ms']:.1f}, {row['post_p99_ms']:.1f}",
            f"{row['processor_ms_a_report']:.1f}",
        )
    console.print(table)
