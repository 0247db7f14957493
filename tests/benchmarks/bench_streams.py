"""Beds that send a packet a second: how long from a window's last sample to its stored result.

    python tests/benchmarks/bench_streams.py --beds 100 --seconds 120 --json OUT.json

The packets (lead II and V1, 250 Hz) are stored as a listener stores them, by this process, or with
`--source kafka` sent as chunk events to a broker in memory, whose topic the listener reads;
`hisbundle serve` with its worker reads them, on SQLite or on the PostgreSQL database given. A
window counts from the moment when the packet that makes it whole is committed, or acknowledged by
the broker, to the moment when its result is seen in the database, which is looked at every 50 ms.
CPU is that of the installation, of its listener and worker together.
"""

import argparse
import base64
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from bench_archive import Site, _children, _serving, waited
from kafka import KafkaAdminClient, KafkaProducer
from sqlalchemy import text

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.store import Store
from db.streaming import Stream
from integration.cli.local_kafka import LocalBroker
from model.ecg import Ecg
from model.simulate import simulate
from model.stitch import WINDOW_S

RATE_HZ = 250.0
SENDER = "MONITOR^BENCH"
LEADS = ("II", "V1")
STEP_MV = 0.0025
TOPIC, PARTITIONS = "chunks", 4
CHUNK = [("content-type", b"application/vnd.hisbundle.ecg-chunk+json")]


class Bed:
    """One bed's packets, and when each was committed."""

    def __init__(self, number: int, begun: datetime, source: str) -> None:
        kind = ("normal", "atrial-fibrillation", "ventricular-ectopy")[number % 3]
        ecg = simulate(kind, seed=number, sampling_rate_hz=RATE_HZ, duration_s=60.0)
        self.signal = ecg.voltage_mv[[ecg.leads.index(lead) for lead in LEADS]]
        self.number, self.patient = number, PatientRef(f"BED{number}")
        self.begun = begun + timedelta(seconds=number / 97 % 1)  # never all at once
        self.device = f"BED{number}"
        sender = f"{self.device}^{TOPIC}" if source == "kafka" else SENDER
        self.stream = Stream(sender, self.patient, RATE_HZ)
        self.ends: list[tuple[datetime, float]] = []

    def send(self, sink: "Sink", second: int) -> None:
        """Send a packet."""
        size = int(RATE_HZ)
        first = second % 60 * size
        piece = np.ascontiguousarray(self.signal[:, first : first + size])
        start = self.begun + timedelta(seconds=second)
        sink(self, second, Ecg(piece, LEADS, RATE_HZ, start, (STEP_MV, STEP_MV)))
        self.ends.append((start + timedelta(seconds=1), time.time()))


Sink = Callable[[Bed, int, Ecg], None]


@contextmanager
def storing(site: Site) -> Iterator[Sink]:
    """Give what stores packets as the HL7 listener does."""
    with closing(Store.open(site.database)) as store:

        def store_one(bed: Bed, second: int, ecg: Ecg) -> None:
            raw = ecg.voltage_mv.tobytes()
            now = datetime.now(UTC)
            message = NewMessage.whole("mllp", SENDER, f"{bed.number}-{second}", raw, now)
            exam = NewExam(bed.patient, ecg, ecg.start)
            store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]))

        yield store_one


@contextmanager
def producing(broker: LocalBroker) -> Iterator[Sink]:
    """Give what sends packets to the topic."""
    producer = KafkaProducer(bootstrap_servers=broker.servers)

    def produce(bed: Bed, second: int, ecg: Ecg) -> None:
        event = chunk_event(bed, second, ecg)
        key = bed.device.encode()
        producer.send(TOPIC, orjson.dumps(event), key=key, headers=CHUNK).get(30)

    try:
        yield produce
    finally:
        producer.close()


def chunk_event(bed: Bed, second: int, ecg: Ecg) -> dict[str, Any]:
    """Return a packet as an event."""
    leads = [
        {
            "name": lead,
            "unit": "mV",
            "resolution": STEP_MV,
            "samples_int16le": base64.b64encode(np.rint(row / STEP_MV).astype("<i2")).decode(),
        }
        for lead, row in zip(ecg.leads, ecg.voltage_mv, strict=True)
    ]
    return {
        "type": "ecg-chunk",
        "version": 1,
        "id": f"{bed.number}-{second}",
        "device": bed.device,
        "start": str(ecg.start),
        "patient": {"identifier": bed.patient.identifier},
        "sampling_rate_hz": RATE_HZ,
        "leads": leads,
    }


def send_all(sink: Sink, beds: list[Bed], seconds: int) -> None:
    """Send every bed's packets when they are due."""
    for second in range(seconds):
        for bed in sorted(beds, key=lambda b: b.begun):
            due = (bed.begun + timedelta(seconds=second + 1)).timestamp()
            time.sleep(max(0.0, due - time.time()))
            bed.send(sink, second)


def watch(site: Site, ending: threading.Event, seen: dict[tuple[str, str], float]) -> None:
    """Note when each window is first seen."""
    mark = 0
    with site.engine.connect() as connection:
        sqlite = site.engine.dialect.name == "sqlite"
        newer = "SELECT rowid, stream_id, start FROM stream_window WHERE rowid > :mark"
        every = "SELECT 0, stream_id, start FROM stream_window"
        while not ending.wait(0.05):
            rows = connection.execute(text(newer if sqlite else every), {"mark": mark}).all()
            connection.rollback()
            for row, stream_id, start in rows:
                seen.setdefault((str(stream_id).replace("-", ""), str(start)), time.time())
                mark = max(mark, row)


def latencies(beds: list[Bed], seen: dict[tuple[str, str], float]) -> list[float]:
    """Return seconds from a whole window's last packet to its result."""
    found = []
    by_stream = {bed.stream.id.hex: bed for bed in beds}
    for (stream_id, start), at in seen.items():
        moment = datetime.fromisoformat(start)
        begins = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        end = begins + timedelta(seconds=WINDOW_S - 0.1)
        whole = [sent for until, sent in by_stream[stream_id].ends if until >= end]
        if whole:  # the last windows of a bed end with its silence
            found.append(at - min(whole))
    return found


def cpu_s(pids: list[int]) -> float:
    """Return what processes have used of a core."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def reading(broker: LocalBroker) -> dict[str, str]:
    """Make the topic; return the settings of who reads it."""
    admin = KafkaAdminClient(bootstrap_servers=broker.servers)
    admin.create_topics({TOPIC: {"num_partitions": PARTITIONS, "replication_factor": 1}})
    admin.close()
    return {
        "HISBUNDLE_KAFKA__BOOTSTRAP_SERVERS": broker.servers,
        "HISBUNDLE_KAFKA__TOPICS": json.dumps({TOPIC: {}}),
        "HISBUNDLE_KAFKA__SESSION_TIMEOUT_S": "6",
    }


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures."""
    site = Site(folder, options.database)
    broker = LocalBroker(folder) if options.source == "kafka" else None
    if broker is not None:
        broker.start()
        site.environment |= reading(broker)
    process = _serving(site)
    seen: dict[tuple[str, str], float] = {}
    ending = threading.Event()
    watcher = threading.Thread(target=watch, args=(site, ending, seen))
    watcher.start()
    load = os.getloadavg()[0]
    pids = [process.pid, *_children(process.pid)]
    used_s = cpu_s(pids)
    sent_s = time.process_time()
    begun = datetime.now(UTC) + timedelta(seconds=1)
    beds = [Bed(number, begun, options.source) for number in range(options.beds)]
    with producing(broker) if broker else storing(site) as sink:
        send_all(sink, beds, options.seconds)
    sent_s = time.process_time() - sent_s
    time.sleep(3.0)
    used_s = cpu_s(pids) - used_s
    ending.set()
    watcher.join()
    packets = options.beds * options.seconds
    told = {
        "begun": begun.isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": [round(load, 1), round(os.getloadavg()[0], 1)],
        "database": site.engine.dialect.name,
        "source": options.source,
        "beds": options.beds,
        "packets": packets,
        "windows": len(seen),
        "episodes": site.count("episode WHERE raised"),
        "latency": waited(latencies(beds, seen)),
        "cpu_ms_a_window": round(used_s / max(len(seen), 1) * 1e3, 1),
        f"cpu_ms_a_packet_to_{'send' if broker else 'store'}": round(sent_s / packets * 1e3, 2),
        "database_bytes_a_packet": round(site.database_bytes() / packets),
    }
    process.send_signal(signal.SIGTERM)
    process.wait()
    if broker is not None:
        broker.stop()
    return told


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beds", type=int, default=100, help="streams")
    parser.add_argument("--seconds", type=int, default=120, help="how long they send")
    parser.add_argument("--source", choices=["store", "kafka"], default="store", help="of packets")
    parser.add_argument("--database", help="PostgreSQL URL of an empty database; default: SQLite")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hisbundle-streams-") as name:
        told = run(Path(name), options)
    print(json.dumps(told, indent=1))  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
