"""Bodies that are posted: read piece by piece, few at a time, refused at a limit.

So many large ones cannot fill the memory; who waits for long is sent away to come again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from integration.listeners.admission import RETRY

_FORM = "application/x-www-form-urlencoded"
_AT_ONCE = 16
_PATIENCE_S = 10.0  # for a turn
_BODY_TIMEOUT_S = 60.0


class Bodies:
    """Reads bodies of at most so many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[tuple[bytes, int]]:
        """Yield a body and its size, or the beginning of one that is larger than the limit.

        Raises:
            HTTPException: 408, 503; 400 where the client has gone, so nobody hears it.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._turns.acquire()
        except TimeoutError:
            raise HTTPException(503, "send this again later", RETRY) from None
        try:
            yield await self._timely(request)
        finally:
            self._turns.release()

    async def as_query(self, request: Request) -> Request:
        """Return a request with a posted form as if its fields stood in the URL, after those there.

        Raises:
            HTTPException: 413; 415: it is no form; or as `read`.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _FORM:
            raise HTTPException(415, f"{_FORM} is taken here")
        async with self.read(request) as (form, size):
            if self.too_large(size):
                raise HTTPException(413, f"at most {self._limit} bytes are taken here")
        asked = b"&".join(filter(None, (request.scope["query_string"], form.strip())))
        return Request({**request.scope, "query_string": asked})

    def too_large(self, size: int) -> bool:
        """Whether a body of this size is refused."""
        return size > self._limit

    async def _timely(self, request: Request) -> tuple[bytes, int]:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT_S):
                return await self._pieces(request)
        except TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        except ClientDisconnect:
            raise HTTPException(400, "the body broke off") from None

    async def _pieces(self, request: Request) -> tuple[bytes, int]:
        declared = request.headers.get("content-length", "")
        size = int(declared) if declared.isascii() and declared.isdecimal() else 0
        pieces, got = [], 0
        async for piece in request.stream():
            pieces.append(piece)
            got += len(piece)
            if self.too_large(max(got, size)):
                break
        return b"".join(pieces), max(got, size)
