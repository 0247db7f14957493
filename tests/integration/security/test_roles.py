import grp
import os

import pytest

from integration.security import roles
from integration.security.roles import Role, account, own_role, scopes_of
from integration.security.scopes import given, need_of
from integration.security.settings import RolesSettings

GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def somebody(monkeypatch):
    """An account that is not root, whoever runs this test."""
    monkeypatch.setattr(roles.os, "getuid", lambda: 61234)
    return "61234"


def test_an_account_is_not_what_the_environment_says(monkeypatch):
    before = account()
    monkeypatch.setenv("LOGNAME", "mallory")
    monkeypatch.setenv("USER", "mallory")
    assert account() == before != "mallory"


def test_where_nobody_is_named_everybody_is_admin(somebody):
    assert own_role(RolesSettings()) is Role.ADMIN


@pytest.mark.parametrize(
    ("settings", "role"),
    [
        ({"viewers": ["61234"]}, Role.VIEWER),
        ({"viewers": ["61234"], "operators": ["61234"]}, Role.OPERATOR),
        ({"admins": [f"@{GROUP}"]}, Role.ADMIN),
        ({"admins": [GROUP]}, None),
        ({"operators": ["somebody-else"]}, None),
    ],
)
def test_an_account_has_the_highest_role_it_is_named_for(somebody, settings, role):
    assert own_role(RolesSettings(**settings)) is role


def test_root_is_not_locked_out(monkeypatch):
    monkeypatch.setattr(roles.os, "getuid", lambda: 0)
    assert own_role(RolesSettings(viewers=("root",))) is Role.ADMIN


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "DiagnosticReport", "operator"),
        ("GET", "Binary/1", "operator"),
        ("POST", "", "operator"),
        ("POST", "DiagnosticReport/1/$confirm", "operator"),
        ("PUT", "Communication/1", "operator"),
        ("DELETE", "DiagnosticReport/1", "admin"),
    ],
)
def test_what_a_role_of_a_token_gives(method, path, least):
    names = ("viewer", "operator", "admin")
    allowed = [name for name in names if given(scopes_of([name]), need_of(method, path))]
    assert allowed == list(names[names.index(least) :])


def test_other_names_give_nothing():
    assert scopes_of(["ADMIN", "root", 7, None, "offline_access"]) == frozenset()
    assert scopes_of(["viewer", "operator"]) == scopes_of(["operator"])
