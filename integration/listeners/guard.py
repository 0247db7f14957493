"""Around every request: known host names alone, no text of what breaks, a line in the log.

A browser's page could reach an interface on loopback through a name that its owner points at
127.0.0.1, so only known host names are answered there. Logs say route and status, never a URL: URLs
hold patients' identifiers.
"""

import logging
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from integration.listeners.rendering import outcome_response
from integration.metrics import Metrics

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
_log = logging.getLogger(__name__)


class Guard:
    """Answers only known hosts, turns what breaks into a 500, and logs route and status."""

    def __init__(
        self, app: ASGIApp, allowed_hosts: Collection[str] | None, metrics: Metrics | None
    ) -> None:
        """Take what answers, which host names are known (None: all), and what counts requests."""
        self._app = app
        self._allowed = allowed_hosts
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it be answered, and note how."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._chosen(scope)(scope, receive, noting)
        except Exception:  # noqa: BLE001 - the last resort of a request
            # Starlette would hand it to the server, which logs the text; that may quote a report.
            _log.exception("request broke route=%s", _route(scope))
            if not status:
                words = "internal error; see the log of this server"
                broken = outcome_response(scope, 500, "exception", words)
                await broken(scope, receive, noting)
        seconds = time.perf_counter() - started
        method = scope["method"] if scope["method"] in _METHODS else "other"
        told = (method, _route(scope), status)
        _log.info("http method=%s route=%s status=%d ms=%.1f", *told, 1000 * seconds)
        if self._metrics is not None:
            self._metrics.requested(*told, seconds)

    def _chosen(self, scope: Scope) -> ASGIApp:
        if self._allowed is not None and _host_name(scope) not in self._allowed:
            return outcome_response(scope, 421, "security", "this host name is not served here")
        return self._app


def _host_name(scope: Scope) -> str | None:
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "none")
