"""Who may do what: viewers look, operators mend, admins let go of things and hold the keys.

For the commands the local account has a role by `[roles]`; that keeps honest people from mistakes
and writes down who tried. Whoever can read the settings can reach the database itself: its own
permissions are the boundary (deploy/postgresql-roles.sql).

Over HTTP a token may carry roles beside its scopes (RFC 9068, 2.2.3.1), which then give what scopes
give: a viewer the measures alone, for all below /fhir is about patients.
"""

import grp
import os
import pwd
from collections.abc import Iterable
from enum import IntEnum

from integration.security.settings import RolesSettings


class Role(IntEnum):
    """Each may what those before it may."""

    VIEWER = 1  # looks at counts, states, lists: no patient data
    OPERATOR = 2  # replays, imports, looks at single ECGs
    ADMIN = 3  # retention, holds, keys, backups, migrations


_SCOPES = {
    Role.VIEWER: frozenset[str](),
    Role.OPERATOR: frozenset({"system/*.crus"}),
    Role.ADMIN: frozenset({"system/*.cruds"}),
}


def scopes_of(names: Iterable[object]) -> frozenset[str]:
    """Return the scopes that roles of a token give; other names give nothing."""
    known = {role.name.lower(): scopes for role, scopes in _SCOPES.items()}
    given = [known[name] for name in names if isinstance(name, str) and name in known]
    return frozenset[str]().union(*given)


def account() -> str:
    """Return the name of this process's account, whatever its environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def own_role(settings: RolesSettings) -> Role | None:
    """Return this process's role; ADMIN where none is given to anybody, and for root."""
    given = {
        Role.ADMIN: settings.admins,
        Role.OPERATOR: settings.operators,
        Role.VIEWER: settings.viewers,
    }
    if not any(given.values()) or os.getuid() == 0:
        return Role.ADMIN
    names = {account(), *(f"@{group}" for group in _groups())}
    return next((role for role, who in given.items() if names & set(who)), None)


def _groups() -> list[str]:
    known = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    return [known.get(gid, str(gid)) for gid in {os.getgid(), *os.getgroups()}]
