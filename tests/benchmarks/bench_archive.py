"""An archive through the whole product: imported, scored and stored, killed and resumed twice.

    python tests/benchmarks/bench_archive.py --simulated 20000 --real FOLDER --json OUT.json

How far it is goes to standard error; OUT.json is written again with every line of it, so that a run
that was cut off leaves what it had seen by then.

Simulated ECGs come as files of HL7 v2 messages whose MSH-3 is SIMULATOR, real ones as WFDB records.
First `hisbundle import` alone, killed with -9 and begun again, so that its own rate is seen; then
`hisbundle serve`, whose worker is killed likewise, while an urgent ECG a second arrives by MLLP. At
the end every ECG has to be there once, assessed once, or to be refused. The next night's size
follows from the rates.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from sqlalchemy import create_engine, text

from db.migrate import upgrade
from db.records import NewExam, NewMessage, PatientRef
from db.store import Store
from integration.hl7v2.client import MllpClient
from integration.hl7v2.encode import encode_ecg
from integration.hl7v2.header import parse_header
from model.simulate import KINDS, simulate

PER_FILE = 500
WAKE_S = 30.0  # around a kill
TOLD_EVERY_S = 10.0
LOOK_EVERY_S = 2.0  # counting rows takes time of the same cores
BEGUN = datetime(2016, 1, 1, tzinfo=UTC)


def message(number: int, application: str) -> bytes:
    """Return one simulated ECG as an HL7 v2 message."""
    kind = KINDS[number % len(KINDS)]
    acquired = BEGUN + timedelta(minutes=number)
    ecg = simulate(kind, seed=number, sampling_rate_hz=100.0, start=acquired)
    return encode_ecg(
        NewExam(PatientRef(f"SIM{number // 3}", "SIMULATED"), ecg, acquired),
        control_id=f"{application[:3]}{number}",
        sender_application=application,
        sender_facility="ARCHIVE",
        now=acquired,
    )


def write_file(folder: Path, first: int, count: int) -> None:
    """Write a file of simulated ECGs."""
    with (folder / f"simulated-{first:08}.hl7").open("wb") as file:
        for number in range(first, first + count):
            file.write(message(number, "SIMULATOR"))


class Site:
    """One installation on a folder of its own; its processes are ours to kill."""

    def __init__(self, folder: Path, database: str | None) -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder / 'hisbundle.db'}"
        with (
            socket.create_server(("127.0.0.1", 0)) as a,
            socket.create_server(("127.0.0.1", 0)) as b,
        ):
            self.mllp_port, self.http_port = a.getsockname()[1], b.getsockname()[1]
        own = {k: v for k, v in os.environ.items() if not k.startswith("HISBUNDLE_")}
        self.environment = own | {
            "HISBUNDLE_DATA_DIR": str(folder),
            "HISBUNDLE_DATABASE_URL": self.database,
            "HISBUNDLE_MLLP__PORT": str(self.mllp_port),
            "HISBUNDLE_HTTP__PORT": str(self.http_port),
            "HISBUNDLE_WORKER__POOL": "prefork",  # an archive wants every core
            "HISBUNDLE_LOG_LEVEL": "WARNING",
        }
        upgrade(self.database)
        self.engine = create_engine(self.database.replace("postgresql://", "postgresql+psycopg://"))

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one of our commands; what it says goes to the folder's log."""
        with (self.folder / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "integration", *command],
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def count(self, what: str) -> int:
        """Return one number from the database."""
        for _ in range(50):
            with suppress(Exception), self.engine.connect() as connection:
                query = f"SELECT count(*) FROM {what}"  # noqa: S608 - of this file
                return int(connection.execute(text(query)).scalar_one())
            time.sleep(0.1)
        raise RuntimeError("the database does not answer")

    def database_bytes(self) -> int:
        """Return the size of the database."""
        store = Store.open(self.database)
        with closing(store):
            return store.database_bytes()


class Progress:
    """Tells how far a phase is, and keeps the figures so far in a file."""

    def __init__(self, told: dict[str, Any], file: Path | None) -> None:
        self.told, self.file = told, file
        self._due = 0.0

    def __call__(self, phase: str, count: int, total: int, began: float) -> None:
        if time.monotonic() < self._due and count < total:
            return
        self._due = time.monotonic() + TOLD_EVERY_S
        seconds = time.monotonic() - began
        rate = count / max(seconds, 1e-9)
        so_far = {"phase": phase, "count": count, "of": total, "seconds": round(seconds, 1)}
        print(f"{phase}: {count} of {total}, {rate:.1f}/s", file=sys.stderr, flush=True)  # noqa: T201
        self.told["so_far"] = so_far | {"ecgs_per_s": round(rate, 2)}
        self.write()

    def write(self) -> None:
        """Replace the file."""
        if self.file:
            beside = self.file.with_name(self.file.name + ".part")
            beside.write_text(json.dumps(self.told, indent=1) + "\n")
            beside.replace(self.file)


class Memory(threading.Thread):
    """Resident bytes of a process and its children, every few seconds."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen = pid, list[int]()
        self.ending = threading.Event()

    def run(self) -> None:
        while not self.ending.wait(2.0):
            self.seen.append(sum(map(_resident, [self.pid, *_children(self.pid)])))

    def told(self) -> dict[str, float]:
        """Return mebibytes at the first, middle and last tenth."""
        self.ending.set()
        seen = [n / 2**20 for n in self.seen] or [0.0]
        tenth = max(1, len(seen) // 10)
        middle = len(seen) // 2
        return {
            "first": round(float(np.median(seen[:tenth])), 1),
            "middle": round(float(np.median(seen[middle : middle + tenth])), 1),
            "last": round(float(np.median(seen[-tenth:])), 1),
            "peak": round(max(seen), 1),
        }


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(c) for c in own] + [g for c in own for g in _children(int(c))]
    return []


def _resident(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def imported(
    site: Site, archive: Path, names: Path, total: int, progress: Progress
) -> dict[str, Any]:
    """Import everything, killed at a third and at two thirds."""
    seconds, memory, kills = 0.0, [], []
    began = time.monotonic()
    for stop_at in (total // 3, 2 * total // 3, None):
        options = ["--patient-from-name", "--no-deliver", "--json", "--list", str(names)]
        begun = time.monotonic()
        process = site.start("import", str(archive), *options)
        watch = Memory(process.pid)
        watch.start()
        while process.poll() is None:
            time.sleep(LOOK_EVERY_S)
            there = site.count("exam")
            progress("imported", there, total, began)
            if stop_at is not None and there >= stop_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills.append(site.count("exam"))
        seconds += time.monotonic() - begun
        memory.append(watch.told())
    return {
        "ecgs": site.count("exam"),
        "killed_at": kills,
        "seconds": round(seconds, 1),
        "ecgs_per_s": round(total / seconds, 1),
        "resident_mib": memory[-1],
    }


def urgent(
    site: Site, ending: threading.Event, seen: list[tuple[float, float]], lost: list[int]
) -> None:
    """Send an ECG a second and note how long after its last byte it is assessed."""
    number = 10**8
    while not ending.is_set():
        number += 1
        raw = message(number, "URGENT")
        header = parse_header(raw)
        exam_id = NewMessage.whole(
            "mllp", header.sender, header.control_id, raw, datetime.now(UTC)
        ).exam_id(0)
        begun = time.monotonic()
        try:
            with MllpClient("127.0.0.1", site.mllp_port, 30) as client:
                client.exchange(raw)
        except Exception:  # noqa: BLE001 - the listener is being killed
            time.sleep(1)
            continue
        while not _assessed(site, exam_id) and not ending.is_set():
            if time.monotonic() - begun > 60:
                lost.append(number)
                break
            time.sleep(0.01)
        else:
            seen.append((begun, time.monotonic() - begun))
        ending.wait(max(0.0, 1.0 - (time.monotonic() - begun)))


def _assessed(site: Site, exam_id: UUID) -> bool:
    with suppress(Exception), closing(site.engine.connect()) as connection:
        id_ = exam_id.hex if site.engine.dialect.name == "sqlite" else str(exam_id)
        query = text("SELECT 1 FROM assessment WHERE exam_id = :id")
        return connection.execute(query, {"id": id_}).scalar() is not None
    return False


def scored(site: Site, total: int, progress: Progress) -> dict[str, Any]:
    """Score everything, the worker killed at a third and everything at two thirds."""
    waits: list[tuple[float, float]] = []
    lost: list[int] = []
    ending = threading.Event()
    process = _serving(site)
    watch = Memory(process.pid)
    watch.start()
    begun = time.monotonic()
    sender = threading.Thread(target=urgent, args=(site, ending, waits, lost))
    sender.start()
    kills, killed_at = [], list[float]()
    for stop_at in (total // 3, 2 * total // 3):
        while (there := site.count("assessment")) < stop_at:
            progress("scored, urgent ones too", there, total, begun)
            time.sleep(LOOK_EVERY_S)
        victims = _children(process.pid)
        if kills:
            victims.append(process.pid)
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        kills.append(site.count("assessment"))
        killed_at.append(time.monotonic())
        if len(kills) == 2:
            process.wait()
            memory_before = watch.told()
            process = _serving(site)
            watch = Memory(process.pid)
            watch.start()
    while site.count("exam WHERE state = 'received'"):
        progress("scored, urgent ones too", site.count("assessment"), total, begun)
        time.sleep(LOOK_EVERY_S)
    seconds = time.monotonic() - begun
    ending.set()
    sender.join()
    process.send_signal(signal.SIGTERM)
    process.wait()
    quiet = [w for at, w in waits if not any(-WAKE_S < at - k < WAKE_S for k in killed_at)]
    return {
        "assessments": site.count("assessment"),
        "killed_at": kills,
        "seconds": round(seconds, 1),
        "ecgs_per_s": round(total / seconds, 1),
        "resident_mib": {"before_the_kill": memory_before, "after": watch.told()},
        "urgent_not_assessed_in_60_s": len(lost),
        "urgent": waited([w for _, w in waits]),
        "urgent_but_around_the_kills": waited(quiet),
    }


def waited(seconds: list[float]) -> dict[str, float]:
    """Return how long urgent ECGs took from their first byte to their assessment."""
    seconds = sorted(seconds)
    return {
        "ecgs": len(seconds),
        "median_s": round(seconds[len(seconds) // 2], 3),
        "p99_s": round(seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))], 3),
        "worst_s": round(seconds[-1], 3),
        "under_2_s": round(sum(s < 2 for s in seconds) / len(seconds), 4),
    }


def _serving(site: Site) -> subprocess.Popen[bytes]:
    process = site.start("serve")
    url = f"http://127.0.0.1:{site.http_port}/readyz"
    for _ in range(600):
        with suppress(httpx.TransportError):
            if httpx.get(url).is_success:
                return process
        time.sleep(0.1)
    raise RuntimeError("serve does not start")


def real_records(folder: Path | None, count: int) -> Iterator[Path]:
    """Yield headers of real records, drawn once for ever."""
    if folder is None:
        return
    found = sorted(folder.rglob("*.hea"))
    yield from random.Random(0).sample(found, min(count, len(found)))


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=2000, help="simulated ECGs")
    parser.add_argument("--real", type=Path, help="folder of WFDB records")
    parser.add_argument("--real-count", type=int, default=10**9, help="at most so many of them")
    parser.add_argument("--database", help="PostgreSQL URL of an empty database; default: SQLite")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hisbundle-archive-") as name:
        told = run(Path(name), options)
    print(json.dumps(told, indent=1))  # noqa: T201


def run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures."""
    archive = folder / "archive"
    archive.mkdir()
    firsts = range(0, options.simulated, PER_FILE)
    counts = [min(PER_FILE, options.simulated - first) for first in firsts]
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_file, [archive] * len(counts), firsts, counts))
    made_s = time.monotonic() - begun
    names = folder / "records.txt"
    real = list(real_records(options.real, options.real_count))
    names.write_text("".join(f"{path}\n" for path in real))
    total = options.simulated + len(real)
    site = Site(folder, options.database)
    told: dict[str, Any] = {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "database": site.engine.dialect.name,
        "simulated": options.simulated,
        "real": len(real),
        "made_s": round(made_s, 1),
    }
    progress = Progress(told, options.json)
    told["import"] = imported(site, archive, names, total, progress)
    told["score"] = scored(site, total, progress)
    refused = site.count("message WHERE state = 'refused'")
    archived = "exam JOIN message ON message.id = exam.message_id WHERE exam.priority > 0"
    told["end"] = {
        "archived_ecgs": site.count(archived),
        "refused": refused,
        "archived_assessments": site.count(
            "assessment JOIN exam ON exam.id = assessment.exam_id WHERE exam.priority > 0"
        ),
        "reports": site.count("report"),
        "failed": site.count("exam WHERE state = 'failed'"),
        "unscorable": site.count("exam WHERE state = 'unscorable'"),
        "deliveries": site.count("delivery"),
        "database_bytes_per_ecg": round(site.database_bytes() / total),
        "exact": site.count(archived) + refused == total,
        "load_after": os.getloadavg()[0],
    }
    per_s = 1 / (1 / told["import"]["ecgs_per_s"] + 1 / told["score"]["ecgs_per_s"])
    told["ecgs_per_s_whole_way"] = round(per_s, 1)
    told["hours_for_a_million"] = round(1e6 / per_s / 3600, 1)
    told.pop("so_far", None)
    progress.write()
    return told


if __name__ == "__main__":
    main()
