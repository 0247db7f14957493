"""kill -9 at every step between the first byte and the answer, in a loop over one database."""

import signal

from integration.hl7v2.ack import read_acknowledgement
from model.simulate import simulate
from tests.patience import PATIENCE_S

# A real listener; one function is replaced by itself and a kill, before or after.
DYING = """
import asyncio, importlib, os, sys
module, name, when = sys.argv[1:4]
del sys.argv[1:4]
owner = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
real = getattr(owner, last)
def dying(*args, **kwargs):
    if when == "before":
        os.kill(os.getpid(), 9)
    real(*args, **kwargs)
    os.kill(os.getpid(), 9)
setattr(owner, last, dying)
from integration.cli import main
main()
"""
STEPS = {
    "the first bytes are read": ("integration.hl7v2.framing", "Framer.feed", "before"),
    "the message is whole": ("integration.hl7v2.framing", "Framer.feed", "after"),
    "the message is judged": ("integration.intake", "Hl7Intake.answer", "before"),
    "it is about to be stored": ("db.store", "Store.accept_all", "before"),
    "its rows are written, not committed": ("db.messages", "_mark_conflict", "after"),
    "it is committed": ("db.store", "Store.accept_all", "after"),
    "it is answered": ("asyncio", "StreamWriter.write", "after"),
}
KEPT = {"it is committed", "it is answered"}


def positive(answer):
    return bool(answer) and read_acknowledgement(answer).code == "AA"


def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(install, message):
    installation = install()
    installation.run("migrate")
    sent, acknowledged = {}, set()
    for n, (step, place) in enumerate(STEPS.items()):
        sent[step] = message(simulate("normal", seed=n), f"S{n}")
        dying = installation.python(DYING, *place, "serve", "--no-worker")
        installation.wait_for(installation.ready, "the listener")
        try:
            answer = installation.send(sent[step])
        except ConnectionError:
            answer = b""
        assert dying.wait(PATIENCE_S) == -signal.SIGKILL, step
        if positive(answer):
            acknowledged.add(step)
        kept = installation.status()["messages"]["accepted"]
        assert kept == len(KEPT & set(list(STEPS)[: n + 1])), step
    assert acknowledged <= KEPT
    # Whoever heard no yes sends again, and so does who did.
    installation.serve()
    assert all(positive(installation.send(raw)) for raw in sent.values())
    exams = installation.settled(len(sent))
    assert len(exams) == len({exam["id"] for exam in exams}) == len(sent)
    assert {exam["state"] for exam in exams} == {"delivered"}
    assert installation.status()["messages"]["accepted"] == len(sent)
