"""One budget for the bytes of unanswered messages over all connections.

Without it each of many connections could hold a message just below the limit of one. Once it is
spent, reading pauses, which TCP tells the senders; only who has waited longest reads on, so that
one message always gets done and frees its bytes. The first block of each message is free, so that
ordinary traffic never waits for large messages.
"""

import asyncio

FREE_BYTES = 64 * 1024


class Budget:
    """What each holder holds; for one event loop."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: dict[object, int] = {}
        self._unfinished: dict[object, None] = {}  # in the order in which they became large
        self._total = 0
        self._freed = asyncio.Event()

    async def room(self, holder: object) -> None:
        """Return when `holder`, whose message is not whole yet, may read on."""
        if self._held.get(holder, 0) < FREE_BYTES:
            return
        self._unfinished.setdefault(holder)
        while self._total >= self._limit and next(iter(self._unfinished)) is not holder:
            await self._freed.wait()

    def hold(self, holder: object, size: int) -> None:
        """Say how many bytes of an unanswered message `holder` has; 0: none."""
        before = self._held.pop(holder, 0)
        self._total += size - before
        if size:
            self._held[holder] = size
        if size < before:
            self._unfinished.pop(holder, None)
            self._wake()

    def whole(self, holder: object) -> None:
        """Say that `holder` needs no more for its message; until it is answered it holds it."""
        if holder in self._unfinished:
            del self._unfinished[holder]
            self._wake()

    def _wake(self) -> None:
        """Have everybody who waits look again."""
        self._freed.set()
        self._freed = asyncio.Event()
