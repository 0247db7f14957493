"""A soak: many ECGs through gate, filter, network and calibration, counted, resumed after a kill.

The file holds whole blocks only: what a killed run had begun of a block is done again and counted
once. Explanations and the strip model are left out.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.detector import Detector, prepared_for
from model.ecg import Ecg
from model.errors import DatasetError, EcgError
from model.quality import assess_quality
from model.runtime import MAX_BATCH

Json = dict[str, Any]
BLOCK = 512  # ECGs between two notes of how far it is


def soak(
    detector: Detector,
    ecg_of: Callable[[int], Ecg],
    count: int,
    file: Path,
    *,
    source: Json,
    on_ecg: Callable[[], None] = lambda: None,
) -> Json:
    """Score ECGs 0 to `count` - 1, from where `file` says that an earlier run was stopped.

    Args:
        detector: that scores.
        ecg_of: the n-th ECG, always the same; raises EcgError where there is none to be read, which
            is counted as refused.
        count: how many in all.
        file: JSON that this function alone writes, after every block.
        source: what the ECGs are; goes into the file.
        on_ecg: called for each that is done, in this run or before.

    Returns:
        What the file holds: counts, and what each run took.

    Raises:
        DatasetError: `soak-differs`: the file is of other ECGs or of another model.
    """
    told = _begun(file, {"model": vars(detector.identity), "source": source})
    for _ in range(min(told["ecgs"], count)):
        on_ecg()
    run: Json = {"begun": datetime.now(UTC).isoformat(timespec="seconds"), "ecgs": 0}
    told["runs"].append(run)
    wall, cpu = time.monotonic(), time.process_time()
    for block in _blocks(told["ecgs"], count):
        for at in range(0, len(block), MAX_BATCH):
            numbers = block[at : at + MAX_BATCH]
            _score(detector, list(_readable(ecg_of, numbers)), told)
            told["ecgs"] = numbers.stop
            told["refused"] = told["ecgs"] - told["scored"] - told["unscorable"]
            for _ in numbers:
                on_ecg()
        run["ecgs"] += len(block)
        run["seconds"] = round(time.monotonic() - wall, 1)
        run["cpu_seconds"] = round(time.process_time() - cpu, 1)
        run.setdefault("resident_mib_at_first", _resident_mib())
        run["resident_mib"] = _resident_mib()
        _write(file, told)
    return told


def _blocks(first: int, count: int) -> Iterator[range]:
    return (range(at, min(at + BLOCK, count)) for at in range(first, count, BLOCK))


def _readable(ecg_of: Callable[[int], Ecg], numbers: range) -> Iterator[Ecg]:
    for number in numbers:
        with suppress(EcgError):
            yield ecg_of(number)


def _score(detector: Detector, ecgs: list[Ecg], told: Json) -> None:
    verdicts = [assess_quality(ecg) for ecg in ecgs]
    prepared = [
        prepared_for(ecg, quality)
        for ecg, quality in zip(ecgs, verdicts, strict=True)
        if quality.scorable
    ]
    opinions = detector.opine_all(prepared)
    threshold = detector.card.anomaly.threshold
    told["scored"] += len(opinions)
    told["unscorable"] += len(ecgs) - len(opinions)
    told["anomalous"] += sum(float(one.anomaly[0]) >= threshold for one in opinions)


def _begun(file: Path, about: Json) -> Json:
    if not file.exists():
        counts = dict.fromkeys(("ecgs", "scored", "unscorable", "refused", "anomalous"), 0)
        return {**about, **counts, "runs": []}
    told: Json = json.loads(file.read_text())
    if any(told.get(name) != value for name, value in about.items()):
        raise DatasetError("soak-differs", f"{file} is of other ECGs or of another model")
    return told


def _write(file: Path, told: Json) -> None:
    """Replace the file at once, so that a kill leaves the old one or the new one."""
    beside = file.with_name(file.name + ".part")
    beside.write_text(json.dumps(told, indent=1) + "\n")
    beside.replace(file)


def _resident_mib() -> float | None:
    """Return this process's resident memory; None where the system does not tell it."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    return None
