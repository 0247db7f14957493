"""How long it takes to find ECGs among a million, on SQLite and on PostgreSQL.

    python tests/benchmarks/bench_search.py --ecgs 1000000 [--database postgresql://...]

The rows are made up, their waveforms left out: what is searched are messages, exams, assessments
and deliveries. Each search is what `hisbundle ecg list FILTER` asks the store.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text

from db.engine import WRITES, open_engine
from db.filters import parse_filter
from db.mapping import order_values, patient_values
from db.migrate import upgrade
from db.records import DeliveryState, ExamState, MessageState, PatientRef
from db.sealed import Sealed, row_id
from db.store import Store
from db.tables import AssessmentRow, DeliveryRow, ExamRow, MessageRow, ReportRow

BEGUN = datetime(2016, 1, 1, tzinfo=UTC)
PIECE = 5_000
FINDINGS = {
    "quality": {"verdict": "good", "reasons": [], "lead_faults": []},
    "model": {"name": "resting", "version": "1", "sha256": "00" * 32},
    "types": [],
    "normal_probability": 0.5,
    "anomaly_score": 0.5,
    "anomaly_threshold": 0.9,
    "explanation": None,
    "strip": None,
}


def rows(first: int, count: int) -> dict[type, list[dict[str, Any]]]:
    """Return the rows of some ECGs; one in a thousand failed, one in five thousand is lost."""
    made: dict[type, list[dict[str, Any]]] = {
        table: [] for table in (MessageRow, ExamRow, AssessmentRow, ReportRow, DeliveryRow)
    }
    for n in range(first, first + count):
        rng = random.Random(n)
        at = BEGUN + timedelta(minutes=5 * n)
        id_ = UUID(int=rng.getrandbits(128))
        failed = n % 1000 == 7
        made[MessageRow].append(_message(n, id_, at))
        made[ExamRow].append(_exam(n, id_, at, failed=failed))
        if not failed:
            made[AssessmentRow].append(_assessment(n, id_, at, rng.random()))
            made[ReportRow].append(_report(id_, at))
            made[DeliveryRow].append(_delivery(n, id_, at, UUID(int=rng.getrandbits(128))))
    return made


def _message(n: int, id_: UUID, at: datetime) -> dict[str, Any]:
    return {
        "id": id_,
        "protocol": "mllp",
        "sender": f"CART{n % 50}^SITE{n % 7}",
        "control_id": f"C{n}",
        "state": MessageState.ACCEPTED,
        "reason": None,
        "received_at": at,
        "original_size": 100,
        "sha256": f"{n:064x}",
        "raw": b"",
        "answer": b"",
        "conflict_at": None,
    }


def _exam(n: int, id_: UUID, at: datetime, *, failed: bool) -> dict[str, Any]:
    return {
        "id": id_,
        "message_id": id_,
        "ordinal": 0,
        "state": ExamState.FAILED if failed else ExamState.DELIVERED,
        "reason": "scoring-crashed" if failed else None,
        **patient_values(id_, PatientRef(f"P{n // 4}", "HOSP")),
        **order_values(id_, f"O{n}"),
        "acquired_at": at,
        "acquired_on": at.date(),
        "filler_order": None,
        "received_at": at,
        "rung_at": at,
        "attempts": 1,
    }


def _assessment(n: int, id_: UUID, at: datetime, score: float) -> dict[str, Any]:
    return {
        "exam_id": id_,
        "assessed_at": at,
        "findings": FINDINGS,
        "anomaly_score": score,
        "model": f"resting@{1 + n % 3}",
        "flagged": ",MI," if n % 9 == 0 else ",",
    }


def _report(id_: UUID, at: datetime) -> dict[str, Any]:
    return {
        "exam_id": id_,
        "issued_at": at,
        "effective_on": at.date(),
        "bundle": Sealed(row_id(id_, 1), {}),
    }


def _delivery(n: int, id_: UUID, at: datetime, key: UUID) -> dict[str, Any]:
    return {
        "id": key,
        "exam_id": id_,
        "destination": "fhir",
        "state": DeliveryState.UNDELIVERABLE if n % 5000 == 3 else DeliveryState.DELIVERED,
        "attempts": 1,
        "next_attempt_at": at,
        "rung_at": at,
        "last_answer": "201",
    }


def filled(url: str, ecgs: int) -> None:
    """Make the database."""
    upgrade(url)
    engine = open_engine(url).execution_options(**{WRITES: True})
    for first in range(0, ecgs, PIECE):
        with engine.begin() as connection:
            for table, values in rows(first, min(PIECE, ecgs - first)).items():
                connection.execute(insert(table), values)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


def searches(ecgs: int) -> dict[str, str]:
    """Return what is looked for."""
    middle = BEGUN + timedelta(minutes=5 * (ecgs // 2))
    return {
        "newest": "",
        "one patient": f"patient:P{ecgs // 8}",
        "one control id": f"control-id:C{ecgs // 2}",
        "one sender's control id": f"sender:CART{(ecgs // 2) % 50}^* control-id:C{ecgs // 2}",
        "an hour": f"received>={middle:%Y-%m-%dT%H:%M} received<{middle:%Y-%m-%dT%H}:59",
        "failed": "state:failed",
        "failed, one sender": "state:failed sender:CART7^SITE0",
        "lost deliveries": "delivery-state:undeliverable destination:fhir",
        "highest scores": "score>=0.9999",
        "one model's MI": "model:resting@1 type:MI",
        "one order": f"order:O{ecgs // 3}",
    }


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ecgs", type=int, default=1_000_000)
    parser.add_argument("--database", help="PostgreSQL URL of an empty database; default: SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hisbundle-search-") as name:
        url = options.database or f"sqlite:///{Path(name) / 'hisbundle.db'}"
        begun = time.monotonic()
        filled(url, options.ecgs)
        made_s = time.monotonic() - begun
        told: dict[str, Any] = {"ecgs": options.ecgs, "made_s": round(made_s), "searches": {}}
        with closing(Store.open(url)) as store:
            told["database_bytes"] = store.database_bytes()
            for what, source in searches(options.ecgs).items():
                found, taken = parse_filter(source), []
                for _ in range(5):
                    begun = time.perf_counter()
                    matched = len(store.find_exams(found, 20))
                    taken.append((time.perf_counter() - begun) * 1e3)
                told["searches"][what] = {
                    "filter": source,
                    "shown": matched,
                    "first_ms": round(taken[0], 1),
                    "median_ms": round(statistics.median(taken), 1),
                }
    print(json.dumps(told, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
