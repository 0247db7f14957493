import json

import pytest
from click.testing import CliRunner

from integration.cli import cli
from tests.databases import new_database


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    new_database(tmp_path / "hisbundle.db")
    return lambda *arguments: CliRunner().invoke(cli, ["check", *arguments])


def test_a_fit_installation(run):
    done = run()
    assert done.exit_code == 0
    assert "ok  database: reachable" in done.output
    assert "\x1b" not in done.output


def test_a_warning_counts_where_it_is_asked_for(run):
    done = run("--strict", "--json")
    assert done.exit_code == 1
    told = {check["name"]: check["level"] for check in json.loads(done.stdout)}
    assert told["destinations"] == "warning"
    assert told["models"] == "ok"


def test_a_fault_ends_with_1(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HISBUNDLE_MODEL_PATH", str(tmp_path / "none"))
    assert run().exit_code == 1
