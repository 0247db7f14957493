"""Signs of life of a worker: a file that is touched, and systemd's watchdog where it asks for it.

The sweep gives them, round by round, whether the database answers or not: a worker that cannot
reach it is alive, and starting another one instead would help nobody.
"""

import logging
import os
import socket
import time
from pathlib import Path

EVERY_S = 5.0
_log = logging.getLogger(__name__)


class Heartbeat:
    """One for a worker; beats at most every EVERY_S."""

    def __init__(self, file: Path) -> None:
        """Take the file to touch; what is missing above it is made."""
        self._file = file
        self._beat_at = float("-inf")
        self._told = False
        self._systemd = os.environ.get("NOTIFY_SOCKET")

    def beat(self) -> None:
        """Give a sign of life; one that cannot be given is told in the log, once."""
        if time.monotonic() - self._beat_at < EVERY_S:
            return
        self._beat_at = time.monotonic()
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.touch()
            if self._systemd:
                _notify(self._systemd, b"READY=1\nWATCHDOG=1")
        except OSError as error:
            if not self._told:
                _log.warning("no sign of life file=%s error=%s", self._file, error.strerror)
            self._told = True


def _notify(address: str, state: bytes) -> None:
    """Tell systemd (sd_notify(3)); an address that begins with @ is an abstract one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        notifying.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        notifying.sendall(state)
