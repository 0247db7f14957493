"""The systemd units, as systemd itself reads them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.config import WorkerSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
MAX_EXPOSURE = 2.0  # of 10; systemd calls it "OK", a unit without any hardening has 9.6
systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze to verify with"
)


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, check=False, text=True, timeout=60
    )


@systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_no_fault(path, tmp_path):
    here = tmp_path / path.name
    # The program and its settings are not installed where this runs.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
    here.write_text(text)
    done = analyze("verify", "--man=no", here)
    assert (done.returncode, [line for line in done.stderr.splitlines() if path.name in line]) == (
        0,
        [],
    )


@systemd
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_hardened(path):
    done = analyze("security", "--offline=true", "--no-pager", "--json=short", path)
    assert json.loads(done.stdout)
    told = analyze("security", "--offline=true", "--no-pager", path).stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told)
    assert float(exposure) <= MAX_EXPOSURE


def test_a_worker_that_is_stopped_finishes_its_tasks():
    text = (DEPLOY / "hisbundle-worker.service").read_text()
    assert re.search(r"^KillMode=mixed$", text, re.MULTILINE), "or its pool gets SIGTERM, too"
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(stop_s) > WorkerSettings().time_limit_s


def test_the_worker_says_that_it_lives():
    text = (DEPLOY / "hisbundle-worker.service").read_text()
    assert re.search(r"^Type=notify$", text, re.MULTILINE)
    (watchdog_s,) = re.findall(r"^WatchdogSec=(\d+)$", text, re.MULTILINE)
    assert int(watchdog_s) >= 60, "a round of the sweep may wait 30 s for the database"
