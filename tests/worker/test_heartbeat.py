import logging
import os
import socket

import pytest

from worker import heartbeat
from worker.heartbeat import EVERY_S, Heartbeat


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now[0])
    return now


def test_a_file_is_touched_once_in_a_while(tmp_path, clock):
    file = tmp_path / "run" / "alive"
    beating = Heartbeat(file)
    beating.beat()
    os.utime(file, (0, 0))
    beating.beat()
    assert file.stat().st_mtime == 0
    clock[0] += EVERY_S
    beating.beat()
    assert file.stat().st_mtime > 0


def test_where_nothing_can_be_written_the_worker_goes_on(tmp_path, clock, caplog):
    (tmp_path / "file").touch()
    beating = Heartbeat(tmp_path / "file" / "alive")
    for _ in range(3):
        beating.beat()
        clock[0] += EVERY_S
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(tmp_path, monkeypatch, abstract):
    address = f"hisbundle-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{address}" if abstract else address)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{address}" if abstract else address)
        Heartbeat(tmp_path / "alive").beat()
        assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
