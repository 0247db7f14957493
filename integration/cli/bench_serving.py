"""Servers that benchmarks run: processes of their own, with SQLite in folders of their own."""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

LISTENER = [sys.executable, "-P", "-m", "integration", "serve", "--no-worker"]
_PATIENCE_S = 60.0


def quantiles_ms(waits_ms: Sequence[float]) -> tuple[float, float]:
    """Return median and 99th percentile of at least one wait."""
    cuts = statistics.quantiles(waits_ms, n=100, method="inclusive") if waits_ms[1:] else []
    return round(cuts[49] if cuts else waits_ms[0], 2), round(cuts[98] if cuts else waits_ms[0], 2)


def machine() -> dict[str, int | float | None]:
    """Return what other machines differ in, and how busy this one is."""
    return {"cores": os.cpu_count(), "load_1_min": round(os.getloadavg()[0], 2)}


def resident_mib(pid: int) -> float:
    """Return the memory that a process occupies."""
    told = subprocess.run(  # noqa: S603 - numbers only
        ["ps", "-o", "rss=", "-p", str(pid)],  # noqa: S607 - wherever this system has it
        capture_output=True,
        check=True,
    )
    return round(int(told.stdout) / 1024, 1)


@contextmanager
def serving(command: list[str], told: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Run a server until the end; yield the port that `told` finds in its log, and its process."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HISBUNDLE_")}
    with tempfile.TemporaryDirectory(prefix="hisbundle-bench-") as name:
        settings = {
            "HISBUNDLE_DATA_DIR": name,
            "HISBUNDLE_MLLP__PORT": "0",
            "HISBUNDLE_HTTP__PORT": "0",
        }
        log = Path(name) / "log.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                command, cwd=name, env=inherited | settings, stdout=output, stderr=output
            )
        try:
            yield _port(process, log, told), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path, told: re.Pattern[str]) -> int:
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if found := told.search(log.read_text(errors="replace")):
            return int(found[1])
        time.sleep(0.05)
    raise click.ClickException(f"the server did not start: {log.read_text(errors='replace')}")
