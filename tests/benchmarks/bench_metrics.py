"""What one page for Prometheus costs beside many ECGs, on SQLite and on PostgreSQL.

    python tests/benchmarks/bench_metrics.py --ecgs 1000000 [--database postgresql://...]

The rows are those of bench_search, with a decision of each ECG in the audit log. Timed are the
parts of the page that ask the database; scrapes in between ask nothing.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy import insert, text

from db.audit import AuditKind
from db.engine import WRITES, open_engine
from db.store import Store
from db.tables import AssessmentRow
from db.upkeep_tables import AuditRow
from tests.benchmarks.bench_search import BEGUN, PIECE, filled, rows

DECISION = {"quality": ["good"], "types": {}, "rhythms": [], "destinations": ["fhir"]}


def decided(url: str, ecgs: int) -> None:
    """Write the audit log."""
    engine = open_engine(url).execution_options(**{WRITES: True})
    number = 0
    for first in range(0, ecgs, PIECE):
        entries = []
        for row in rows(first, min(PIECE, ecgs - first))[AssessmentRow]:
            number += 1
            content = DECISION | {"anomaly": [row["anomaly_score"], 0.9, False]}
            entries.append(
                {
                    "at": row["assessed_at"],
                    "kind": AuditKind.DECISION,
                    "actor": "worker",
                    "exam_id": row["exam_id"],
                    "content": json.dumps(content, sort_keys=True),
                    "number": number,
                    "sha256": f"{number:064x}",
                    "previous": f"{number - 1:064x}",
                }
            )
        with engine.begin() as connection:
            connection.execute(insert(AuditRow), entries)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()


def taken_ms(ask: Callable[[], object]) -> dict[str, float]:
    """Return how long it takes, at first and later."""
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - begun) * 1e3)
    return {"first_ms": round(taken[0], 1), "median_ms": round(statistics.median(taken), 1)}


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ecgs", type=int, default=1_000_000)
    parser.add_argument("--database", help="PostgreSQL URL of an empty database; default: SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hisbundle-metrics-") as name:
        url = options.database or f"sqlite:///{Path(name) / 'hisbundle.db'}"
        filled(url, options.ecgs)
        decided(url, options.ecgs)
        now = BEGUN + timedelta(minutes=5 * options.ecgs)
        with closing(Store.open(url)) as store:
            head, _ = store.audit_head()
            told = {
                "ecgs": options.ecgs,
                "every 5 s": {
                    "queues": taken_ms(lambda: store.queues(now)),
                    "1,000 events": taken_ms(lambda: store.happened(head - 1000, 1000)),
                    "size": taken_ms(store.database_bytes),
                },
                "every 300 s": {
                    "counts": taken_ms(lambda: store.status(now)),
                    "spread of 20,000": taken_ms(lambda: store.spreads(BEGUN, now)),
                },
            }
    print(json.dumps(told, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
