"""Where the time of an ECG goes: CPU milliseconds a stage, one process, one thread.

    python tests/benchmarks/bench_stages.py --simulated 300 --real FOLDER --real-count 300

The functions of each stage are timed as they run in the product; what a stage spends inside another
one counts for that one alone. CPU time, so that other work on the machine hardly matters; waiting
for the disk is told apart.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from bench_archive import real_records, write_file
from sqlalchemy import text

import db.compress
import db.decisions
import db.exams
import db.mapping
import db.messages
import db.waveform
import integration.archive
import integration.intake
import model.assessor
import model.detector
import model.strip.detector
import worker.pipeline
from db.migrate import upgrade
from db.records import BACKLOG, Lane
from db.store import Store
from integration.archive import Archive, Patients
from integration.config import Settings
from integration.senders import senders_of
from model.assessor import Assessor, StripReader
from model.detector import Detector
from model.runtime import OnnxRuntime
from worker.sweep import TOGETHER

STAGES: tuple[tuple[str, Any, str], ...] = (
    ("import: decode", integration.intake, "decode"),
    ("import: decode", integration.archive, "read_ecgs"),
    ("import: decode", integration.archive, "_bytes_of"),
    ("import: compress", db.messages, "message_values"),
    ("import: compress", db.messages, "waveform_values"),
    ("import: insert and commit", Store, "accept_all"),
    ("import: the rest", Archive, "take"),
    ("import: the rest", Archive, "told"),
    ("score: load", Store, "begin_first_scoring"),
    ("score: quality gate", model.detector, "assess_quality"),
    ("score: filters", model.detector, "prepared_for"),
    ("score: network", OnnxRuntime, "measure"),
    ("score: gradients", OnnxRuntime, "influence"),
    ("score: calibration", Detector, "judge"),
    ("score: maps and intervals", Detector, "_explain"),
    ("score: the rest", Detector, "examine"),
    ("score: strip gate", model.assessor, "assess_strip"),
    ("score: strip rhythm", model.strip.detector, "read_rhythm"),
    ("score: strip inputs", model.strip.detector, "beat_inputs"),
    ("score: strip network", model.strip.detector, "read_beats"),
    ("score: strip, the rest", StripReader, "read"),
    ("report: build", worker.pipeline, "build_report"),
    ("store: audit entry", db.exams, "add_decision"),
    ("store: findings", db.exams, "assessment_row"),
    ("store: report", db.exams, "report_row"),
    ("store: insert and commit", Store, "save_assessments"),
    ("the rest of a task", worker.pipeline, "score_exams"),
)


WARM_UP = 5 * TOGETHER  # what is done once is no ECG's


class Clock:
    """CPU and wall seconds by stage, each without what it calls."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.wall: dict[str, float] = {}
        self._inside: list[list[float]] = []

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, timed."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._inside.append([0.0, 0.0])
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                took = time.thread_time() - cpu, time.perf_counter() - wall
                inner = self._inside.pop()
                self.cpu[stage] = self.cpu.get(stage, 0.0) + took[0] - inner[0]
                self.wall[stage] = self.wall.get(stage, 0.0) + took[1] - inner[1]
                if self._inside:
                    self._inside[-1][0] += took[0]
                    self._inside[-1][1] += took[1]

        return run


def run(store: Store, files: list[Path], clock: Clock) -> dict[str, Any]:
    """Import and score every file; return counts."""
    store.receive_as(Lane(BACKLOG, silent=True))
    archive = Archive(
        store, senders_of(Settings()), Patients.read(None, named_by_file=True), zone=UTC
    )
    for path in files:
        archive.take(path, must_be_ecg=True)
    archive.told()
    assessor, rules = Assessor.load(), worker.pipeline.Rules((), max_attempts=5)
    count = 0
    while ids := store.claim_waiting_exams(datetime.now(UTC), TOGETHER, backlog=True):
        worker.pipeline.score_exams(store, assessor, ids, rules)
        count += len(ids)
        if count == WARM_UP:
            clock.cpu = {k: v for k, v in clock.cpu.items() if k.startswith("import")}
            clock.wall = {k: v for k, v in clock.wall.items() if k.startswith("import")}
    return {"ecgs": count}


def stored_bytes(url: str) -> dict[str, int]:
    """Return what each table of a SQLite file takes, indexes too."""
    with closing(Store.open(url)) as store, store._engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT m.tbl_name, sum(s.pgsize) FROM dbstat s JOIN sqlite_master m"
                " ON m.name = s.name GROUP BY 1 ORDER BY 2 DESC"
            )
        )
        return {name: size for name, size in rows if size > 50_000}


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=300, help="simulated ECGs")
    parser.add_argument("--real", type=Path, help="folder of WFDB records")
    parser.add_argument("--real-count", type=int, default=300, help="at most so many of them")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="hisbundle-stages-") as name, ExitStack() as patches:
        folder = Path(name)
        write_file(folder, 0, options.simulated)
        files = [*folder.glob("*.hl7"), *real_records(options.real, options.real_count)]
        url = f"sqlite:///{folder / 'hisbundle.db'}"
        upgrade(url)
        for stage, owner, attribute in STAGES:
            timed = clock.timed(stage, getattr(owner, attribute))
            patches.enter_context(mock.patch.object(owner, attribute, timed))
        with closing(Store.open(url)) as store:
            told = run(store, files, clock)
        told["bytes_per_ecg"] = {k: round(v / told["ecgs"]) for k, v in stored_bytes(url).items()}
    imported, scored = told["ecgs"], told["ecgs"] - WARM_UP
    told["stages_ms"] = {
        stage: [
            round(1000 * seconds / (imported if stage.startswith("import") else scored), 3)
            for seconds in (clock.cpu[stage], clock.wall[stage])
        ]
        for stage in dict.fromkeys(stage for stage, _, _ in STAGES)
        if stage in clock.cpu
    }
    told["cpu_ms"] = round(sum(cpu for cpu, _ in told["stages_ms"].values()), 2)
    if options.json:
        print(json.dumps(told, indent=1))  # noqa: T201
        return
    print("| stage | CPU ms an ECG | wall ms |\n|---|---:|---:|")  # noqa: T201
    for stage, (cpu, wall) in told["stages_ms"].items():
        print(f"| {stage} | {cpu:.2f} | {wall:.2f} |")  # noqa: T201
    print(f"| all | {told['cpu_ms']:.2f} | |")  # noqa: T201
    print(json.dumps(told["bytes_per_ecg"]))  # noqa: T201


if __name__ == "__main__":
    main()
