import subprocess
import sys

from worker.watchdog import EXIT_STUCK

PROGRAM = """
import threading, time
from worker.watchdog import Watchdog
watchdog = Watchdog(0.4)
watchdog.start()
def task():
    with watchdog.watch():
        time.sleep({task_s})
thread = threading.Thread(target=task)
thread.start()
thread.join()
time.sleep(0.6)
"""


def exit_of(task_s):
    program = PROGRAM.format(task_s=task_s)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=60)


def test_a_stuck_task_ends_the_process():
    assert exit_of(30).returncode == EXIT_STUCK


def test_a_quick_task_does_not():
    assert exit_of(0.01).returncode == 0
