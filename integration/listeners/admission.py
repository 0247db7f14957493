"""Who may ask for what below /fhir, and for measures: 401 and 403 before anything else looks."""

import logging

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from integration.errors import TryLater
from integration.listeners.rendering import outcome_response
from integration.security.callers import Caller, Callers
from integration.security.scopes import given, need_of

BASE = "/fhir"
OPEN = {f"{BASE}/metadata"}
NOTIFY = f"{BASE}/notify"  # a source's token opens what is below its name here, and nothing else
MEASURES = "/metrics"  # counts and times: to whoever shows a valid token
NOBODY = Caller("")
RETRY = {"Retry-After": "5"}
_log = logging.getLogger(__name__)


class Admission:
    """Lets a request below /fhir through when its token is valid and its scopes give what it needs.

    Without callers everybody is let through: that is meant for loopback.
    """

    def __init__(self, app: ASGIApp, callers: Callers | None) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403 or 503, or go on with `scope["state"]["caller"]` set."""
        if self._callers is None or scope["type"] != "http" or not _is_private(scope["path"]):
            await self._app(scope, receive, send)
            return
        shown = Headers(scope=scope).get("authorization", "")
        try:
            caller = await run_in_threadpool(self._callers.caller, shown)
        except TryLater as error:
            answer = outcome_response(scope, 503, "transient", str(error), RETRY)
            await answer(scope, receive, send)
            return
        if caller is None:
            named = {"WWW-Authenticate": 'Bearer error="invalid_token"' if shown else "Bearer"}
            answer = outcome_response(scope, 401, "login", "a bearer token is needed", named)
            await answer(scope, receive, send)
        elif (lacking := _lacking(caller, scope)) is not None:
            _log.warning("caller without scope name=%s needs=%s", caller.name, lacking)
            named = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{lacking}"'}
            words = "no scope of the token gives this"
            await outcome_response(scope, 403, "forbidden", words, named)(scope, receive, send)
        else:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """Return who asks; `NOBODY` where nobody has to tell."""
    found: Caller = getattr(request.state, "caller", NOBODY)
    return found


def _is_private(path: str) -> bool:
    return (path in {BASE, MEASURES} or path.startswith(f"{BASE}/")) and path not in OPEN


def _lacking(caller: Caller, scope: Scope) -> str | None:
    """Return the scope that a caller would need and does not have, or None."""
    path = scope["path"]
    at_home = caller.source is None or f"{path}/".startswith(f"{NOTIFY}/{caller.source}/")
    if at_home and (caller.scopes is None or path == MEASURES):
        return None
    need = need_of(scope["method"], path.removeprefix(BASE).lstrip("/"))
    if need is None:
        return "system/*.cruds"
    return None if at_home and given(caller.scopes or (), need) else str(need)
