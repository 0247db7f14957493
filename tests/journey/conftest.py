"""Hisbundle as its users run it: real processes, real sockets, real databases."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from db.records import NewExam, PatientRef
from integration.cli import cli
from integration.hl7v2.encode import encode_ecg
from integration.hl7v2.framing import frame
from model.ecg import Ecg
from tests.kafka_broker import JOIN_S
from tests.patience import PATIENCE_S, wait_for
from tests.ports import free_port

# In every identifying field that a journey sends; none of it may ever be logged.
CANARY = "ZZCANARY"


class Installation:
    """One Hisbundle: its settings, its processes and all they logged."""

    def __init__(self, folder: Path, **settings: str):
        self.folder = folder
        self.mllp_port, self.http_port = free_port(), free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = folder / "log.txt"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HISBUNDLE_")},
            "HISBUNDLE_DATA_DIR": str(folder / "data"),
            "HISBUNDLE_MLLP__PORT": str(self.mllp_port),
            "HISBUNDLE_HTTP__PORT": str(self.http_port),
            "HISBUNDLE_DELIVERY__BACKOFF_S": "0.2",
            "HISBUNDLE_LOG_LEVEL": "DEBUG",
            **{f"HISBUNDLE_{name}": value for name, value in settings.items()},
        }

    @staticmethod
    def wait_for(condition, what):
        """Return the first true value of `condition()`, which takes a little of the machine."""
        return wait_for(condition, what, pause_s=0.1)

    def start(self, *command: str, **environment: str):
        return self._popen([sys.executable, "-P", "-m", "integration", *command], environment)

    def _popen(self, command, environment):
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def python(self, program: str, *arguments: str):
        """Start a program of the test's own in this installation's settings."""
        return self._popen([sys.executable, "-P", "-c", program, *arguments], {})

    def run(self, *command: str):
        return subprocess.run(
            [sys.executable, "-P", "-m", "integration", *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=PATIENCE_S,
        )

    def tell(self, *command: str):
        """Return what a command prints as JSON; in this process, for it is asked many times."""
        done = CliRunner().invoke(cli, [*command, "--json"], env=self.environment)
        assert done.exit_code == 0, (done.stderr, done.exception)
        return json.loads(done.stdout)

    def serve(self, *options: str, **environment: str):
        process = self.start("serve", *options, **environment)
        self.wait_for(lambda: process.poll() is not None or self.ready(), "the listeners")
        assert process.poll() is None, self.log.read_text()[-3000:]
        return process

    def ready(self):
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path: str):
        """Return status and parsed body."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def status(self):
        return self.tell("status", "--last", "1000")

    def settled(self, count: int):
        """Return the exams once there are `count` and none waits any more."""

        def look():
            told = self.status()
            recent, open_ = told["recent"], ("received", "scored")
            # Counted first and listed then: another one may have come in between.
            waits = any(map(told["exams"].get, open_)) or any(e["state"] in open_ for e in recent)
            return recent if len(recent) >= count and not waits else None

        return self.wait_for(look, f"{count} ECGs to settle")

    def children(self, process):
        """Return the process ids below `process`."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)],
            capture_output=True,
            check=False,
            text=True,
        )
        return [int(pid) for pid in found.stdout.split()]

    def send_bytes(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own and return all that came back."""
        with socket.create_connection(("127.0.0.1", self.mllp_port), PATIENCE_S) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while piece := connection.recv(65_536):
                    answer += piece
            except ConnectionResetError:
                return b""
        return answer

    def send(self, raw: bytes) -> bytes:
        """Send one frame and return the answer, or b"" when the other side died."""
        return self.send_bytes(frame(raw)).removeprefix(b"\x0b").removesuffix(b"\x1c\r")

    def kill(self, pid: int):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def alive(self, pid: int):
        """Tell whether a process runs; one that ended and waits for its parent does not."""
        done = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False, text=True
        )
        return done.stdout.strip() not in {"", "Z"}

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def check_log(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        leaks = [line for line in text.splitlines() if CANARY in line]
        assert not leaks, leaks[:5]


@pytest.fixture
def install(tmp_path):
    """A function that makes installations; each is stopped, and its log searched, at the end."""
    made = []

    def make(**settings):
        folder = tmp_path / f"site{len(made)}"
        folder.mkdir()
        made.append(Installation(folder, **settings))
        return made[-1]

    yield make
    for installation in made:
        installation.stop()
    for installation in made:
        installation.check_log()


@pytest.fixture
def message():
    """A function that writes an ECG as a hospital's message, with canaries in every field."""

    def write(ecg: Ecg, control_id: str) -> bytes:
        now = datetime.now(UTC)
        exam = NewExam(
            PatientRef(f"{CANARY}-4711", f"{CANARY}HOSP"), ecg, now, f"{CANARY}-P", f"{CANARY}-F"
        )
        return encode_ecg(
            exam,
            control_id=control_id,
            sender_application="CART",
            sender_facility="ED",
            now=now,
        )

    return write


@pytest.fixture
def topic(kafka_cluster):
    return kafka_cluster.topic(4)


@pytest.fixture
def install_reader(install, kafka_cluster, topic):
    """A function that makes an installation which reads the topic."""
    settings = kafka_cluster.settings(topic)
    kafka_cluster.topic(name=settings.dead_letter_topic)

    def make(**more):
        return install(
            KAFKA__BOOTSTRAP_SERVERS=settings.bootstrap_servers,
            KAFKA__GROUP=settings.group,
            KAFKA__DEAD_LETTER_TOPIC=settings.dead_letter_topic,
            KAFKA__SESSION_TIMEOUT_S=str(JOIN_S),
            KAFKA__TOPICS=orjson.dumps({topic: {}}).decode(),
            **more,
        )

    make.settings = settings
    return make
