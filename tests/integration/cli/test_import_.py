import json
import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from db.store import Store
from integration.archive import Archive
from integration.cli import cli
from tests.databases import new_database
from tests.hl7_messages import twelve, wcm

HL7 = wcm(*twelve("^".join("012" * 1000)), pid="PID|1||ZZCANARY-4711^^^HOSP^MR")

# Killed with -9 before or after the commit of its nth transaction, of four messages each.
DYING = """
import os, signal
import integration.archive
from db.store import Store
from integration.cli import cli

integration.archive._MAX_WAITING = 4
accept_all = Store.accept_all
left = int(os.environ["DIES_AT"])

def dying(*args, **kwargs):
    global left
    left -= 1
    if not left and not os.environ["COMMITTED"]:
        os.kill(os.getpid(), signal.SIGKILL)
    receipts = accept_all(*args, **kwargs)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return receipts

Store.accept_all = dying
cli()
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def archive(tmp_path):
    """Three files of which one is broken."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.hl7").write_bytes(HL7.replace(b"4711", b"471%d" % n))
    (folder / "3.hl7").write_bytes(b"MSH|broken\r")
    return folder


def run(*arguments):
    return CliRunner().invoke(cli, ["import", *map(str, arguments)])


def counts(done):
    return json.loads(done.stdout)["counts"]


def test_a_dry_run_counts_and_stores_nothing(store, archive):
    done = run(archive, "--dry-run", "--json")
    assert done.exit_code == 1
    assert counts(done) == {"ecgs": 3, "imported": 3, "refused:msh-malformed": 1}
    assert store.backlog_waiting() == 0
    assert json.loads(run("--past", "--json").stdout) == []


def test_an_archive_is_taken_in_and_again_nothing_is(store, archive):
    assert counts(run(archive, "--no-deliver", "--json"))["imported"] == 3
    assert store.backlog_waiting() == 3
    again = run(archive, "--json")
    assert counts(again) == {"ecgs": 0, "known": 3, "refused:msh-malformed": 1}
    assert store.backlog_waiting() == 3
    first, second = json.loads(run("--past", "--json").stdout)
    assert (first["counts"]["known"], second["counts"]["imported"]) == (3, 3)
    assert "ecgs 0" in " ".join(run("--past").output.split())


def test_it_goes_on_after_the_last_file_that_was_noted(store, archive, monkeypatch):
    monkeypatch.setattr("integration.cli.import_._PIECE", 1)
    taken = []

    def dying(self, path, *, must_be_ecg):
        taken.append(path.name)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return take(self, path, must_be_ecg=must_be_ecg)

    take = Archive.take
    monkeypatch.setattr(Archive, "take", dying)
    assert run(archive).exit_code == 1
    done = run(archive, "--json")
    assert taken == ["0.hl7", "1.hl7", "2.hl7", "2.hl7", "3.hl7"]
    assert counts(done) == {"ecgs": 3, "imported": 3, "refused:msh-malformed": 1}


def test_a_file_of_many_messages_is_noted_by_itself(store, archive, monkeypatch):
    monkeypatch.setattr("integration.cli.import_._PIECE", 4)
    monkeypatch.setattr("integration.archive._MAX_WAITING", 4)
    (archive / "0.hl7").write_bytes(b"".join(HL7.replace(b"4711", b"5%d" % n) for n in range(4)))

    def dying(self, path, *, must_be_ecg):
        if path.name == "1.hl7" and not died:
            died.append(path)
            raise KeyboardInterrupt
        return take(self, path, must_be_ecg=must_be_ecg)

    died, take = [], Archive.take
    monkeypatch.setattr(Archive, "take", dying)
    assert run(archive).exit_code == 1
    assert counts(run(archive, "--json")) == {"ecgs": 6, "imported": 6, "refused:msh-malformed": 1}


@pytest.mark.parametrize("transaction", [1, 2])
@pytest.mark.parametrize("committed", [True, False])
def test_killed_at_a_commit_it_goes_on_and_nothing_is_there_twice(
    store, archive, transaction, committed
):
    (archive / "0.hl7").write_bytes(b"".join(HL7.replace(b"4711", b"5%d" % n) for n in range(6)))
    environment = os.environ | {"DIES_AT": str(transaction), "COMMITTED": "1" * committed}
    command = [sys.executable, "-c", DYING, "import", str(archive), "--json"]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    there = 4 * (transaction - 1 + committed)
    assert store.backlog_waiting() == there
    again = counts(run(archive, "--json"))
    told = {"ecgs": 8 - there, "imported": 8 - there, "known": there, "refused:msh-malformed": 1}
    assert again == {name: n for name, n in told.items() if n or name == "ecgs"}
    assert store.backlog_waiting() == 8
    (one,) = json.loads(run("--past", "--json").stdout)
    assert (one["counts"], one["finished_at"] is None) == (again, False)


def test_names_of_old_archives_need_not_be_utf8(store, archive):
    odd = archive / os.fsdecode(b"M\xfcller.hl7")
    odd.write_bytes(HL7.replace(b"4711", b"4719"))
    first, again = (counts(run(archive, "--json")) for _ in range(2))
    assert (first["imported"], again["known"]) == (4, 4)
    assert [one.position for one in store.imports(9)] == [f"{archive}/M\\xfcller.hl7"] * 2


def test_a_table_whose_names_are_ambiguous_is_told_before_anything_is_read(store, tmp_path):
    for folder in ("p1", "p2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ecg.hea").write_text("ecg 1 500 5000\n")
    table = tmp_path / "patients.csv"
    table.write_text("file,identifier\necg.hea,ZZCANARY-1\n")
    done = run(tmp_path / "p1", tmp_path / "p2", "--patients", table)
    assert done.exception.reason == "patients-unusable"
    assert json.loads(run("--past", "--json").stdout) == []


def test_files_come_from_a_list_at_a_rate(store, archive, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text(f"{archive / '0.hl7'}\n{archive / '1.hl7'}\n")
    done = run("--list", names, "--rate", "1000", "--json")
    assert done.exit_code == 0
    assert counts(done) == {"ecgs": 2, "imported": 2}
    assert json.loads(done.stdout)["seconds"] >= 0
    assert run().exit_code == 2


def test_people_get_a_table(store, archive):
    done = run(archive)
    assert "msh-malformed" in done.output
    assert "import: 4 of 4" in done.stderr
