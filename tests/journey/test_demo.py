"""What a newcomer sees first."""

import subprocess
import sys

from click.testing import CliRunner

from integration.cli.demo import _KINDS, _STRIP_KINDS, demo
from tests.patience import PATIENCE_S


def test_where_nothing_can_be_written_is_told_before_anything_starts(tmp_path):
    (tmp_path / "file").touch()
    done = CliRunner().invoke(demo, ["--to", str(tmp_path / "file" / "below")])
    assert done.exit_code == 2
    assert "Not a directory" in done.output


def test_the_demo_ends_well_and_prints_every_ecg(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "integration", "demo", "--to", "shown"],
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
    assert [path.name for path in tmp_path.iterdir()] == ["shown"]
    files = list((tmp_path / "shown").iterdir())
    begins = {".hl7": b"MSH|", ".json": b"{", ".pdf": b"%PDF-"}
    assert len(files) == 3 * (1 + len(_KINDS) + len(_STRIP_KINDS))
    assert all(path.read_bytes().startswith(begins[path.suffix]) for path in files)
