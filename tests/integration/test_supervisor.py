import asyncio
import sys
from pathlib import Path

import pytest

from integration import supervisor

COUNT_AND = "import sys, time; open(sys.argv[1], 'a').write('x'); "


def commanded(monkeypatch, folder, body):
    marks = folder / "marks"
    monkeypatch.setattr(
        supervisor, "WORKER_COMMAND", [sys.executable, "-c", COUNT_AND + body, str(marks)]
    )
    return marks


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("waited too long")


def starts(marks: Path):
    return len(marks.read_text()) if marks.exists() else 0


async def kept(marks, wanted, grace_s=10.0):
    stop = asyncio.Event()
    keeper = asyncio.create_task(supervisor.keep_worker(stop, grace_s))
    await until(lambda: starts(marks) >= wanted)
    stop.set()
    await asyncio.wait_for(keeper, 20)


def test_a_worker_that_dies_is_started_again(monkeypatch, tmp_path, caplog):
    marks = commanded(monkeypatch, tmp_path, "sys.exit(9)")
    asyncio.run(kept(marks, 2))
    assert "worker died" in caplog.text
    assert "exit=9" in caplog.text


def test_a_worker_that_stays_is_stopped_with_us(monkeypatch, tmp_path):
    marks = commanded(monkeypatch, tmp_path, "time.sleep(60)")
    asyncio.run(kept(marks, 1))
    assert starts(marks) == 1


def test_a_worker_that_does_not_listen_is_killed(monkeypatch, tmp_path, caplog):
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    marks = commanded(monkeypatch, tmp_path, deaf)
    asyncio.run(kept(marks, 1, grace_s=0.5))
    # The signal may come before the worker is deaf; then it simply ended.
    assert starts(marks) == 1


def test_its_standard_input_closes_when_we_end(monkeypatch, tmp_path):
    marks = commanded(
        monkeypatch, tmp_path, "sys.stdin.read(); open(sys.argv[1], 'a').write('closed')"
    )
    program = (
        "import asyncio, os, pathlib\n"
        "from integration import supervisor\n"
        f"supervisor.WORKER_COMMAND = {supervisor.WORKER_COMMAND!r}\n"
        "async def main():\n"
        "    asyncio.create_task(supervisor.keep_worker(asyncio.Event(), 1.0))\n"
        f"    while not pathlib.Path({str(marks)!r}).exists(): await asyncio.sleep(0.02)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )

    async def run():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        assert await process.wait() == -9
        await until(lambda: marks.read_text().endswith("closed"))

    asyncio.run(run())
