"""What a newcomer sees first."""

import subprocess
import sys

from integration.cli.demo import _KINDS
from tests.patience import PATIENCE_S


def test_the_demo_ends_well_and_prints_every_ecg(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "integration", "demo"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "real: the recording inside pydicom" in done.stdout
    for kind in _KINDS:
        assert f"simulated: {kind}" in done.stdout
    assert "unscorable" in done.stdout
    assert "AI-generated" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert list(tmp_path.iterdir()) == []
