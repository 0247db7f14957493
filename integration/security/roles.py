"""Who may do what: viewers look, operators mend, admins let go of things and hold the keys.

For the commands the local account has a role by `[roles]`; that keeps honest people from mistakes
and writes down who tried. Whoever can read the settings can reach the database itself: its own
permissions are the boundary (deploy/postgresql-roles.sql).
"""

import grp
import os
import pwd
from enum import IntEnum

from integration.security.settings import RolesSettings


class Role(IntEnum):
    """Each may what those before it may."""

    VIEWER = 1  # looks at counts, states, lists: no patient data
    OPERATOR = 2  # replays, imports, looks at single ECGs
    ADMIN = 3  # retention, holds, keys, backups, migrations


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
