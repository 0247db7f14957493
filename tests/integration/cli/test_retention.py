import json
from uuid import UUID

from tests.integration.cli.test_replay import message_id, run

__all__ = ["message_id"]


def test_without_periods_everything_stays(message_id):
    told = json.loads(run("retention", "run", "--json").output)
    assert told.pop("database_bytes") > 0
    assert set(told.values()) == {0}


def test_a_dry_run_tells_what_a_run_does(message_id, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_RETENTION__ERRORS_DAYS", "30")
    assert json.loads(run("retention", "show", "--json").output)["errors"] == 1
    assert json.loads(run("retention", "show", "--json").output)["errors"] == 1
    done = run("retention", "run", "--vacuum")
    assert (done.exit_code, done.output.startswith("errors 1; ")) == (0, True)
    assert json.loads(run("retention", "show", "--json").output)["errors"] == 0


def test_holds_are_made_listed_without_patients_and_released(message_id):
    id_ = run("retention", "hold", "--patient", "ZZCANARY", "--why", "case 12").output.strip()
    listed = run("retention", "holds", "--json")
    assert "ZZCANARY" not in listed.output
    (one,) = json.loads(listed.output)
    assert (one["id"], one["why"], one["of"]) == (id_, "case 12", "a patient")
    ecg = str(UUID(int=4))
    run("retention", "hold", "--ecg", ecg, "--why", "case 13")
    assert ecg in run("retention", "holds").output
    assert run("retention", "release", id_).exit_code == 0
    assert id_ not in run("retention", "holds").output


def test_a_hold_is_of_a_patient_or_an_ecg(message_id):
    assert run("retention", "hold", "--why", "x").exit_code == 2
