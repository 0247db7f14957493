import click
import pytest
from click.testing import CliRunner

from db.store import Store
from integration.cli import _COMMANDS, cli, command
from integration.cli.access import ROLE
from integration.security import roles
from tests.databases import new_database

# They touch no installation's data, or are the service itself, which has its own account.
FOR_EVERYBODY = {
    "demo",
    "evaluate",
    "export",
    "encryption key",
    "score",
    "send mllp",
    "serve",
    "train",
    "worker",
}


def leaves(name, found):
    if not isinstance(found, click.Group):
        return {name: found}
    under = {}
    for part, sub in found.commands.items():
        under |= leaves(f"{name} {part}", sub)
    return under


def all_commands():
    return {n: c for name in _COMMANDS for n, c in leaves(name, command(name)).items()}


def test_each_command_says_what_role_it_needs():
    without = {
        name
        for name, found in all_commands().items()
        if not hasattr(found.callback, ROLE) and not name.startswith("bench ")
    }
    assert without == FOR_EVERYBODY


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """The URL of a database that the account of this test, which is not root, may look at."""
    monkeypatch.setattr(roles.os, "getuid", lambda: 61234)
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HISBUNDLE_ROLES__VIEWERS", '["61234"]')
    return new_database(tmp_path / "hisbundle.db")


def test_a_role_that_suffices_is_let_in(installation):
    assert CliRunner().invoke(cli, ["status"]).exit_code == 0


def test_a_refusal_is_told_and_audited(installation):
    refused = CliRunner().invoke(cli, ["retention", "run"])
    assert str(refused.exception) == (
        "role-missing: cli retention run is for the role admin: see [roles]"
    )
    store = Store.open(installation)
    store.seal_audit()
    (sealed,) = store.audit_entries()
    store.close()
    assert sealed.entry.actor == "61234"
    assert sealed.entry.content == {"refused": "cli retention run", "needs": "admin"}


def test_who_cannot_reach_the_database_is_refused_as_well(installation, monkeypatch):
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/x")
    refused = CliRunner().invoke(cli, ["replay", "run", "", "--stage", "score", "--yes"])
    assert "role-missing" in str(refused.exception)
