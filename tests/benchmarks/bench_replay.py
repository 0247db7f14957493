"""An outage leaves thousands of reports undelivered; they are replayed, and each arrives once.

    python -m tests.benchmarks.bench_replay --count 10000 --json

The database holds them as given up. `hisbundle replay run` makes them due, a worker sends them to a
receiver that is still away for a while and then counts what it creates, by identifier. The worker
is killed once on the way. Exits with 1 unless each report was created once and every patient's
reports arrived in order.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np

from db.clinical import Incoming
from db.migrate import upgrade
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.store import Store
from integration.cli.fhir_receiver import FhirReceiver
from integration.fhir.report import build_report
from model.ecg import Ecg
from model.findings import Findings, ModelIdentity, Quality, TypeFinding

REPORTS_A_PATIENT = 4
AWAY_S = 5.0
FINDINGS = Findings(
    quality=Quality("good"),
    model=ModelIdentity("resting", "1", "ab" * 32),
    types=(TypeFinding("MI", 0.9, 0.5),),
    normal_probability=0.05,
    anomaly_score=0.99,
    anomaly_threshold=0.95,
)


def main() -> int:
    """Run, print, and say by the exit code whether it went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--database", help="URL of an empty database [default: SQLite]")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, FhirReceiver() as receiver:
        figures = replayed(Path(folder), given.database, given.count, receiver)
    shown = (
        json.dumps(figures) if given.json else "\n".join(f"{k}: {v}" for k, v in figures.items())
    )
    sys.stdout.write(shown + "\n")
    return 0 if figures["each_once"] and figures["in_order"] else 1


def replayed(
    folder: Path, database: str | None, count: int, receiver: FhirReceiver
) -> dict[str, object]:
    """Fill, replay, wait; return what was seen."""
    url = database or f"sqlite:///{folder / 'hisbundle.db'}"
    upgrade(url)
    store = Store.open(url)
    patients = dict(undelivered(store, count))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HISBUNDLE_")} | {
        "HISBUNDLE_DATA_DIR": str(folder),
        "HISBUNDLE_DATABASE_URL": url,
        "HISBUNDLE_DESTINATIONS__EHR__KIND": "fhir",
        "HISBUNDLE_DESTINATIONS__EHR__BASE_URL": receiver.url,
        "HISBUNDLE_DESTINATIONS__EHR__TIMEOUT_S": "4",
        "HISBUNDLE_LOG_LEVEL": "ERROR",
        "HISBUNDLE_WORKER__TIME_LIMIT_S": "5",
        "HISBUNDLE_WORKER__RING_GRACE_S": "10",
    }
    receiver.status = 503
    worker = started(environment, "worker")
    began = time.monotonic()
    replay = [*("replay", "run", "destination:ehr", "--stage", "deliver"), "--yes", "--json"]
    told = subprocess.run(
        [sys.executable, "-P", "-m", "integration", *replay],
        env=environment,
        check=True,
        capture_output=True,
    )
    made_due_s = time.monotonic() - began
    time.sleep(AWAY_S)
    receiver.status = None
    back = time.monotonic()
    killed = False
    while len(receiver.order) < count or store.status(datetime.now(UTC)).deliveries["pending"]:
        if not killed and len(receiver.order) > count // 2:
            worker.kill()
            worker.wait()
            worker, killed = started(environment, "worker"), True
        if time.monotonic() - back > 3600:
            break
        time.sleep(0.1)
    took_s = time.monotonic() - back
    worker.terminate()
    worker.wait()
    delivered = store.status(datetime.now(UTC)).deliveries["delivered"]
    store.close()
    return {
        "reports": count,
        "replayed": json.loads(told.stdout)["succeeded"],
        "made_due_s": round(made_due_s, 1),
        "delivered": delivered,
        "created": len(receiver.order),
        "posts": receiver.posts.total(),
        "worker_killed": killed,
        "seconds": round(took_s, 1),
        "a_second": round(count / took_s, 1),
        "each_once": delivered == len(receiver.order) == len(set(receiver.order)) == count,
        "in_order": in_order(receiver.order, patients),
    }


def undelivered(store: Store, count: int) -> Iterator[tuple[UUID, tuple[int, int]]]:
    """Store reports that were given up; yield exam, patient and its number among theirs."""
    ecg = Ecg(np.zeros((1, 500), np.float32), ("II",), 250.0)
    begin = datetime.now(UTC) - timedelta(days=1)
    patients = -(-count // REPORTS_A_PATIENT)
    for number in range(count):
        nth, patient = divmod(number, patients)
        now = begin + timedelta(seconds=number)
        message = NewMessage.whole("mllp", "BENCH", str(number), b"MSH|%d" % number, now)
        exam = NewExam(PatientRef(str(patient)), ecg, now)
        receipt = store.accept(
            Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]), rung=True
        )
        (exam_id,) = receipt.exam_ids
        report = build_report(store.begin_scoring(exam_id), FINDINGS, issued=now)
        new = NewAssessment(FINDINGS, now, report, ("ehr",))
        for delivery_id in store.save_assessment(exam_id, new) or ():
            store.record_undeliverable(delivery_id, "gave up after 50 tries: destination-busy")
        yield exam_id, (patient, nth)


def in_order(created: list[str], patients: dict[UUID, tuple[int, int]]) -> bool:
    """Tell whether each patient's reports were created in the order of their making."""
    seen = defaultdict(list)
    for identifier in created:
        patient, nth = patients[UUID(identifier)]
        seen[patient].append(nth)
    return all(numbers == sorted(numbers) for numbers in seen.values())


def started(environment: dict[str, str], command: str) -> subprocess.Popen[bytes]:
    """Start one of our commands; what it says is none of our output."""
    call = [sys.executable, "-P", "-m", "integration", command]
    return subprocess.Popen(call, env=environment, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
