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

from sqlalchemy import text

from db.records import NewExam, NewMessage, PatientRef
from integration.hl7v2.client import MllpClient
from integration.hl7v2.encode import encode_ecg
from integration.hl7v2.header import parse_header
from model.simulate import KINDS, simulate
from tests.benchmarks.installation import Memory, Progress, Site, children

PER_FILE = 500
WAKE_S = 30.0  # around a kill
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


def made(archive: Path, count: int, progress: Progress) -> float:
    """Write the simulated ECGs; return how many seconds that took."""
    firsts = range(0, count, PER_FILE)
    counts = [min(PER_FILE, count - first) for first in firsts]
    begun = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for first, _ in zip(
            firsts, pool.map(write_file, [archive] * len(counts), firsts, counts), strict=True
        ):
            progress("made", first, count, begun)
    return round(time.monotonic() - begun, 1)


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
    starting = time.monotonic()
    process = site.serve()
    watch = Memory(process.pid)
    watch.start()
    begun = time.monotonic()
    ready_s = [round(begun - starting, 1)]
    sender = threading.Thread(target=urgent, args=(site, ending, waits, lost), daemon=True)
    sender.start()
    kills, killed_at = [], list[float]()
    for stop_at in (total // 3, 2 * total // 3):
        while (there := site.count("assessment")) < stop_at:
            progress("scored, urgent ones too", there, total, begun)
            time.sleep(LOOK_EVERY_S)
        victims = children(process.pid)
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
            process = site.serve()
            ready_s.append(round(time.monotonic() - killed_at[-1], 1))
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
        "ready_s": ready_s,
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
    real = list(real_records(options.real, options.real_count))
    total = options.simulated + len(real)
    told: dict[str, Any] = {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "simulated": options.simulated,
        "real": len(real),
    }
    progress = Progress(told, options.json)
    told["made_s"] = made(archive, options.simulated, progress)
    names = folder / "records.txt"
    names.write_text("".join(f"{path}\n" for path in real))
    site = Site(folder, options.database)
    told["database"] = site.engine.dialect.name
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
