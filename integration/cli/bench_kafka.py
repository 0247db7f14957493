"""`hisbundle bench kafka`: events a second into the database, results a second out."""

import base64
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import numpy as np
import orjson
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from rich.console import Console
from rich.table import Table

from db.migrate import upgrade
from db.records import Assessed, Exam, ExamState, NewMessage, PatientRef
from db.reviews import ReportStatus
from db.store import Store
from integration.cli.bench_mllp import numbers
from integration.cli.bench_serving import machine, resident_mib
from integration.cli.local_kafka import local_broker
from integration.cli.progress import progress
from integration.fhir.codes import Json
from integration.fhir.report import attach_page, build_report
from integration.kafka.connection import client_arguments, consumer_arguments
from integration.kafka.dead_letters import DeadLetters
from integration.kafka.envelope import Record
from integration.kafka.outbound import KafkaDestination
from integration.kafka.settings import KafkaSettings, TopicSettings
from integration.kafka.writer import Writer
from integration.kafka_intake import KafkaIntake, Taken
from integration.listeners.kafka import KafkaListener
from integration.render import page_of
from model.simulate import simulate

_PATIENCE_S = 300.0
_TIMEOUT_S = 30.0
_MAX_THREADS = 64
_MAX_BATCH = 10_000


@click.command()
@click.option(
    "--events",
    type=click.IntRange(1, 1_000_000),
    default=500,
    show_default=True,
    help="ECG events and results a run",
)
@click.option(
    "--batch",
    default="16,64,256",
    show_default=True,
    callback=numbers(_MAX_BATCH),
    help="records between two commits of offsets (kafka.max_poll_records)",
)
@click.option(
    "--senders",
    default="1,8",
    show_default=True,
    callback=numbers(_MAX_THREADS),
    help="deliveries at the same time",
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="of the topic that is read",
)
@click.option("--servers", help="host:port, with commas [default: a broker of its own, in memory]")
@click.option("--json", "as_json", is_flag=True, help="print all figures as JSON")
def kafka(
    *,
    events: int,
    batch: tuple[int, ...],
    senders: tuple[int, ...],
    partitions: int,
    servers: str | None,
    as_json: bool,
) -> None:
    """Time a listener from a topic to SQLite, and a destination to a topic.

    Events are new ECGs of 12 leads, 10 s, 500 Hz; one counts when it is committed in the database
    and its offset at the broker. A result counts when the broker has acknowledged it. No worker
    runs. Topics of the bench's own are made and left behind.
    """
    results = _results()
    rows_out = [(threads, name) for threads in senders for name in results]
    with (
        _broker(servers) as at,
        progress("measuring", len(batch) + len(rows_out)) as advance,
    ):
        taken, sent = [], []
        for size in batch:
            taken.append(_take(at, size, events, partitions))
            advance()
        for threads, name in rows_out:
            sent.append({"format": name} | _send(at, results[name], name, threads, events))
            advance()
    told = ",".join(map(str, batch)), ",".join(map(str, senders))
    figures = {
        "command": f"hisbundle bench kafka --events {events} --batch {told[0]} "
        f"--senders {told[1]} --partitions {partitions}",
        "machine": machine(),
        "broker": servers or "local, in memory",
        "in": taken,
        "out": sent,
    }
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(figures)


@contextmanager
def _broker(servers: str | None) -> Iterator[str]:
    if servers is not None:
        yield servers
        return
    with (
        tempfile.TemporaryDirectory(prefix="hisbundle-bench-") as folder,
        local_broker(Path(folder)) as broker,
    ):
        yield broker.servers


def _topic(servers: str, partitions: int) -> str:
    name = f"hisbundle-bench-{uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        admin.create_topics({name: {"num_partitions": partitions, "replication_factor": -1}})
    finally:
        admin.close()
    return name


class _Noting(KafkaConsumer):  # type: ignore[misc]
    """A consumer that notes how far its commits are, and when."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)
        self.offsets: dict[Any, int] = {}
        self.noted_at = 0.0

    def commit(self, offsets: Any, timeout_ms: int | None = None) -> None:  # noqa: ANN401
        super().commit(offsets, timeout_ms=timeout_ms)
        self.offsets |= {place: at.offset for place, at in offsets.items()}
        self.noted_at = time.perf_counter()


class _Counting(KafkaIntake):
    """An intake that notes when the first record came and how many are stored."""

    began_at: float | None = None

    def take(self, records: Sequence[Record]) -> list[Taken]:
        self.began_at = self.began_at or time.perf_counter()
        return super().take(records)


def _take(servers: str, batch: int, events: int, partitions: int) -> dict[str, Any]:
    topic = _topic(servers, partitions)
    size = _fill(servers, topic, events)
    settings = KafkaSettings(
        bootstrap_servers=servers,
        group=topic,
        session_timeout_s=6,
        max_poll_records=batch,
        topics={topic: TopicSettings()},
    )
    arguments = client_arguments(settings)
    consumers: list[_Noting] = []

    def connect() -> _Noting:
        consumers.append(_Noting(**consumer_arguments(arguments, settings)))
        return consumers[-1]

    with tempfile.TemporaryDirectory(prefix="hisbundle-bench-") as folder:
        url = f"sqlite:///{folder}/bench.db"
        upgrade(url)
        store = Store.open(url)
        intake = _Counting(store, None, settings)
        letters = DeadLetters(Writer(arguments, _TIMEOUT_S), settings.dead_letter_topic)
        listener = KafkaListener(connect, [topic], intake, letters)
        before = resident_mib(os.getpid())
        cpu_began = time.process_time()
        listener.start()
        _wait(lambda: sum(sum(c.offsets.values()) for c in consumers) >= events)
        cpu_s = time.process_time() - cpu_began
        after = resident_mib(os.getpid())
        listener.stop()
        stored = store.status(datetime.now(UTC)).messages.get("accepted", 0)
        store.close()
    seconds = consumers[-1].noted_at - (intake.began_at or 0.0)
    return {
        "batch": batch,
        "events": stored,
        "bytes": size,
        "per_second": round(stored / seconds, 1),
        "cpu_ms": round(1000 * cpu_s / stored, 2),
        "resident_before_mib": before,
        "resident_after_mib": after,
    }


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not done():
        if time.monotonic() > deadline:
            raise click.ClickException(f"not all was committed within {_PATIENCE_S:g} s")
        time.sleep(0.01)


def _fill(servers: str, topic: str, events: int) -> int:
    """Write events, each new; return the bytes of one."""
    ecg = simulate("noisy", seed=7)
    leads = []
    for name, row in zip(ecg.leads, np.rint(1000 * ecg.voltage_mv).astype("<i2"), strict=True):
        packed = base64.b64encode(row.tobytes()).decode()
        leads.append({"name": name, "unit": "uV", "resolution": 1, "samples_int16le": packed})
    event: Json = {"type": "ecg", "version": 1, "sampling_rate_hz": ecg.sampling_rate_hz}
    event |= {"patient": {"identifier": "4711", "authority": "BENCH"}, "leads": leads}
    producer = KafkaProducer(bootstrap_servers=servers)
    value = b""
    for n in range(events):
        value = orjson.dumps(event | {"id": f"{topic}-{n}"})
        # Acknowledged one by one: a batch of one record, whatever the broker makes of larger ones.
        producer.send(topic, value, key=str(n).encode()).get(_TIMEOUT_S)
    producer.close()
    return len(value)


def _results() -> dict[str, Json]:
    """Return format -> a report as a worker hands it to a destination."""
    from model.assessor import Assessor  # noqa: PLC0415 - help stays quick

    now = datetime.now(UTC)
    ecg = simulate("inferior-st-elevation", seed=1)
    message = NewMessage.whole("kafka", "BENCH", "1", b"bench", now)
    patient = PatientRef("4711", "BENCH")
    exam = Exam(
        id=message.exam_id(0),
        message_id=message.id,
        state=ExamState.RECEIVED,
        reason=None,
        patient=patient,
        ecg=ecg,
        acquired=now,
        placer_order=None,
        filler_order=None,
        received_at=now,
        attempts=1,
    )
    findings = Assessor.load().score(ecg)
    bundle = build_report(exam, findings, issued=now)
    page = page_of(Assessed(exam, findings, now, 1, ReportStatus.PRELIMINARY, now))
    return {"event": bundle, "fhir": attach_page(bundle, page)}


def _send(servers: str, report: Json, form: str, threads: int, results: int) -> dict[str, Any]:
    topic = _topic(servers, 1)
    settings = KafkaSettings(bootstrap_servers=servers)
    writer = Writer(client_arguments(settings), _TIMEOUT_S)
    destination = KafkaDestination(writer, topic, compact=form == "event")
    destination.send(report)  # connects
    before = resident_mib(os.getpid())
    began, cpu_began = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        count = sum(1 for _ in pool.map(destination.send, [report] * results))
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    after = resident_mib(os.getpid())
    writer.close()
    return {
        "senders": threads,
        "results": count,
        "per_second": round(count / seconds, 1),
        "cpu_ms": round(1000 * cpu_s / count, 2),
        "resident_before_mib": before,
        "resident_after_mib": after,
    }


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    table = Table(title="Events a second, committed in SQLite and at the broker")
    for column in ("batch", "events", "bytes", "a second", "CPU ms", "memory MiB"):
        table.add_column(column, justify="right")
    for row in figures["in"]:
        told = (str(row[name]) for name in ("batch", "events", "bytes", "per_second", "cpu_ms"))
        table.add_row(*told, f"{row['resident_before_mib']:.0f} - {row['resident_after_mib']:.0f}")
    console.print(table)
    table = Table(title="Results a second, acknowledged by the broker")
    for column in ("format", "senders", "results", "a second", "CPU ms"):
        table.add_column(column, justify="right")
    for row in figures["out"]:
        names = ("format", "senders", "results", "per_second", "cpu_ms")
        table.add_row(*(str(row[name]) for name in names))
    console.print(table)
