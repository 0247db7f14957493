"""Keeps one worker process alive beside the listeners of the embedded default."""

import asyncio
import logging
import sys
import time

WORKER_COMMAND = [sys.executable, "-P", "-m", "worker"]
MAX_PAUSE_S = 30.0
HEALTHY_S = 60.0  # after this long the next death is a new matter, not the same one again
_log = logging.getLogger(__name__)


async def keep_worker(stop: asyncio.Event, grace_s: float) -> None:
    """Run a worker and start it again when it dies, until `stop`; then let it finish its tasks.

    The worker watches its standard input, which closes when this process ends in any way.
    """
    pause_s = 0.5
    while not stop.is_set():
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *WORKER_COMMAND, "--stop-with-stdin", stdin=asyncio.subprocess.PIPE
        )
        _log.info("worker started pid=%d", process.pid)
        ended = asyncio.create_task(process.wait())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if stop.is_set():
            await _stop(process, ended, grace_s)
            return
        pause_s = 0.5 if time.monotonic() - started > HEALTHY_S else min(2 * pause_s, MAX_PAUSE_S)
        _log.error(
            "worker died pid=%d exit=%s pause_s=%g", process.pid, process.returncode, pause_s
        )
        await _pause(stop, pause_s)


async def _stop(
    process: asyncio.subprocess.Process, ended: asyncio.Task[int], grace_s: float
) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(ended, grace_s)
    except TimeoutError:
        # Nothing is lost: the sweep of the next start rings what it held.
        _log.warning("worker killed pid=%d grace_s=%g", process.pid, grace_s)
        process.kill()
        await process.wait()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
