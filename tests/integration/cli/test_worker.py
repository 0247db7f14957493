import os

import pytest
from click.testing import CliRunner

from integration.cli.worker import STALE_S, worker


@pytest.fixture
def alive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    return tmp_path / "worker.alive"


def test_a_worker_lives_whose_heartbeat_is_fresh(alive):
    alive.touch()
    done = CliRunner().invoke(worker, ["--check"])
    assert (done.exit_code, done.output) == (0, "alive\n")


def test_an_old_heartbeat_is_none(alive):
    alive.touch()
    stale = alive.stat().st_mtime - STALE_S
    os.utime(alive, (stale, stale))
    done = CliRunner().invoke(worker, ["--check"])
    assert done.exit_code == 1
    assert "no sign of life in the last 60 s" in done.output


def test_no_heartbeat_is_none(alive):
    assert CliRunner().invoke(worker, ["--check"]).exit_code == 1
