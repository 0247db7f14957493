import json

from click.testing import CliRunner

from integration.cli import cli
from tests.databases import new_database


def test_a_backup_is_told_and_audited(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    new_database(tmp_path / "hisbundle.db")
    copy = tmp_path / "copy"
    done = CliRunner().invoke(cli, ["backup", str(copy), "--json"])
    told = json.loads(done.stdout)
    assert told["bytes"] == copy.stat().st_size > 0
    assert told["audit_head"] == "0:" + "0" * 64
    assert "audit head 0:" in CliRunner().invoke(cli, ["backup", f"{copy}2"]).output
    CliRunner().invoke(cli, ["audit", "verify"])
    exported = CliRunner().invoke(cli, ["audit", "export"]).output
    assert exported.count(str(copy)) == 2
