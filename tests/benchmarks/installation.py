"""One installation of our own, for benchmarks that start, kill and watch it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import create_engine, text

from db.migrate import upgrade
from db.store import Store

TOLD_EVERY_S = 10.0


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

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the listeners with a worker; return once they are ready, whenever that is."""
        process = self.start("serve")
        url = f"http://127.0.0.1:{self.http_port}/readyz"
        while process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(url).is_success:
                    return process
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log.txt").read_text()[-2000:])

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
            self.seen.append(sum(map(_resident, [self.pid, *children(self.pid)])))

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


def children(pid: int) -> list[int]:
    """Return the processes below one."""
    with suppress(OSError):
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(c) for c in own] + [g for c in own for g in children(int(c))]
    return []


def _resident(pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
