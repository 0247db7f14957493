import pytest
from click.testing import CliRunner

from integration.cli import cli
from tests.databases import new_database


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    new_database(tmp_path / "hisbundle.db")


def run(*arguments):
    return CliRunner().invoke(cli, ["model", *arguments])


def test_a_stop_and_a_start():
    done = run("stop", "resting@1.1.0", "--why", "false alarms")
    assert done.output == "resting@1.1.0 is stopped\n"
    (line,) = run("list").output.splitlines()
    assert line.startswith("resting@1.1.0  0 ECGs  STOPPED 20")
    assert line.endswith(": false alarms")
    assert "stopped: resting@1.1.0" in CliRunner().invoke(cli, ["status"]).output
    assert run("start", "resting@1.1.0").output == "resting@1.1.0 is started\n"
    assert run("list").output == ""


def test_what_cannot_be():
    assert run("stop", "resting", "--why", "x").exit_code == 2
    assert run("stop", "resting@1").exit_code == 2
    assert "not-found" in str(run("start", "resting@1").exception)
