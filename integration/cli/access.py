"""What role a command needs, and who is recorded for what it does."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec, TypeVar

import click

from db.audit import AuditEntry, AuditKind
from integration.config import Settings, load_settings
from integration.database import open_store
from integration.security.roles import Role, account, own_role
from model.errors import HisbundleError

P = ParamSpec("P")
R = TypeVar("R")
ROLE = "hisbundle_role"  # attribute of a command's function


class Denied(HisbundleError):
    """This account may not do that: `role-missing`."""


def needs(role: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let only accounts of this role, or of a higher one, run a command; refusals are audited."""

    def guard(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            settings = load_settings()
            own = own_role(settings.roles)
            if own is None or own < role:
                _refuse(settings, click.get_current_context().command_path, role)
            return function(*args, **kwargs)

        setattr(guarded, ROLE, role)
        return guarded

    return guard


def _refuse(settings: Settings, command: str, role: Role) -> None:
    content = {"refused": command, "needs": role.name.lower()}
    entry = AuditEntry(AuditKind.OPERATION, datetime.now(UTC), account(), None, content)
    with suppress(HisbundleError):  # one who cannot reach the database is refused as well
        store = open_store(settings)
        try:
            store.record_audit(entry)
        finally:
            store.close()
    raise Denied("role-missing", f"{command} is for the role {role.name.lower()}: see [roles]")


def _actor(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str:
    return account() if name is None else f"{name} ({account()})"


actor_option = click.option(
    "--actor", callback=_actor, help="a name to record in front of this account's"
)
