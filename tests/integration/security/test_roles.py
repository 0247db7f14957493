import grp
import os

import pytest

from integration.security import roles
from integration.security.roles import Role, account, own_role
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
