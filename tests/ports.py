"""Ports on loopback, for whom port 0 is no choice."""

import os
import socket
from itertools import cycle

import pytest

_FIRST, _EACH = 12_000, 5_000


def _numbers():
    """Ports that only this process of the tests hands out."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    own = range(_FIRST + process * _EACH, _FIRST + (process + 1) * _EACH)
    begin = os.getpid() * 97 % _EACH  # another run at the same time begins elsewhere
    return cycle([*own[begin:], *own[:begin]])


_PORTS = _numbers()


def free_port():
    """Return a port for a process that is about to be started.

    The system itself hands out ports from 32768 on, to listeners and to every connection: one of
    those may be taken again before the process listens. These are below, and none comes twice.
    """
    return next(port for port in _PORTS if _nobody_listens(port))


def _nobody_listens(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture
def silent_port():
    """A port of which nothing comes back, as behind a firewall: connections are never made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())  # fills the queue; the system drops what comes next
        yield full.getsockname()[1]


@pytest.fixture
def closed_port():
    """A port where nobody listens, and nobody can while the test runs."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
