"""`hisbundle demo`: the whole product once, on a folder that is thrown away."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import httpx
import pydicom.data
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from db.records import ExamState, ExamSummary, NewExam, NewMessage, PatientRef
from db.store import Store
from integration.fhir.wording import ectopy_in_words, rate_in_words
from integration.formats import read_ecg
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.client import MllpClient
from integration.hl7v2.encode import encode_ecg
from integration.hl7v2.header import parse_header
from model.ecg import Ecg
from model.findings import Findings
from model.simulate import simulate

_RECORDING = "waveform_ecg.dcm"
_KINDS = (
    "normal",
    "sinus-tachycardia",
    "atrial-fibrillation",
    "ventricular-ectopy",
    "left-bundle-branch-block",
    "inferior-st-elevation",
    "left-ventricular-hypertrophy",
    "lead-off",
    "noisy",
)
_STRIP_KINDS = ("atrial-fibrillation", "ventricular-ectopy")
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class _Case:
    """One ECG of the demo."""

    title: str
    raw: bytes

    @property
    def exam_id(self) -> UUID:
        """Ids follow from content, so the sender knows the report's id before it is made."""
        header = parse_header(self.raw)
        message = NewMessage.whole(
            "mllp", header.sender, header.control_id, self.raw, datetime.now(UTC)
        )
        return message.exam_id(0)


@click.command()
@click.option(
    "--to",
    "kept",
    type=click.Path(file_okay=False, path_type=Path),
    help="also write the messages, the reports and their pages into this folder",
)
def demo(kept: Path | None) -> None:
    """Send one real and several simulated ECGs through the whole product; print what came out.

    Starts the embedded default on free ports and a folder of its own, sends by MLLP, waits for the
    reports, reads them over FHIR, and stops everything.
    """
    console = Console()
    cases = _cases()
    if kept is not None:
        _make(kept)
    with tempfile.TemporaryDirectory(prefix="hisbundle-demo-") as name:
        folder = Path(name)
        mllp_port, http_port = _free_ports()
        with _installation(folder, mllp_port, http_port) as base_url:
            console.print(f"listening: MLLP 127.0.0.1:{mllp_port}, FHIR {base_url}")
            with Progress(console=console, transient=True) as progress:
                _send(cases, mllp_port, progress)
                done = _wait(folder, cases, progress)
            console.print(_table(cases, done, base_url))
            if len(done) < len(cases):
                raise click.ClickException(f"{len(cases) - len(done)} ECGs got no report")
            console.print(_one_conclusion(cases, done, base_url), highlight=False)
            if kept is not None:
                _keep(cases, kept, base_url)
                console.print(f"messages, reports and pages: {kept}")


def _cases() -> list[_Case]:
    path = pydicom.data.get_testdata_file(_RECORDING, download=False)
    recordings = [("real: the recording inside pydicom", read_ecg(Path(str(path))))]
    recordings += [(f"simulated: {kind}", simulate(kind, seed=7)) for kind in _KINDS]
    recordings += [(f"simulated strip: {kind}", _strip(kind)) for kind in _STRIP_KINDS]
    return [
        _Case(title, _message(ecg, f"DEMO{n:04}"))
        for n, (title, ecg) in enumerate(recordings, start=1)
    ]


def _strip(kind: str) -> Ecg:
    whole = simulate(kind, seed=7, duration_s=30.0)
    return Ecg(whole.lead("II")[None], ("II",), whole.sampling_rate_hz)


def _message(ecg: Ecg, control_id: str) -> bytes:
    now = datetime.now(UTC)
    return encode_ecg(
        NewExam(PatientRef(f"{control_id}-PAT", "DEMO"), ecg, now, f"{control_id}-ORDER"),
        control_id=control_id,
        sender_application="DEMO-CART",
        sender_facility="DEMO",
        now=now,
    )


def _free_ports() -> tuple[int, int]:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return one.getsockname()[1], two.getsockname()[1]


@contextmanager
def _installation(folder: Path, mllp_port: int, http_port: int) -> Iterator[str]:
    """Run `hisbundle serve`; yield the base URL once it is ready."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HISBUNDLE_")}
    settings = {
        "HISBUNDLE_DATA_DIR": str(folder),
        "HISBUNDLE_MLLP__PORT": str(mllp_port),
        "HISBUNDLE_HTTP__PORT": str(http_port),
        "HISBUNDLE_LOG_LEVEL": "WARNING",
    }
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "integration", "serve"],
            cwd=folder,
            env=inherited | settings,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{http_port}")
        yield f"http://127.0.0.1:{http_port}"
    except BaseException:
        click.echo(log.read_text(errors="replace"), err=True)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise click.ClickException("the listeners did not start; see the log above")


def _send(cases: list[_Case], port: int, progress: Progress) -> None:
    with MllpClient("127.0.0.1", port, _PATIENCE_S) as client:
        for case in progress.track(cases, description="sending by MLLP"):
            answer = read_acknowledgement(client.exchange(case.raw))
            if answer.code != "AA":
                raise click.ClickException(f"{case.title}: {answer.code} {answer.texts}")


def _wait(folder: Path, cases: list[_Case], progress: Progress) -> dict[UUID, ExamSummary]:
    store = Store.open(f"sqlite:///{folder / 'hisbundle.db'}")
    task = progress.add_task("waiting for reports", total=len(cases))
    deadline = time.monotonic() + _PATIENCE_S
    done: dict[UUID, ExamSummary] = {}
    try:
        while len(done) < len(cases) and time.monotonic() < deadline:
            time.sleep(0.05)
            exams = store.recent_exams(len(cases))
            done = {e.id: e for e in exams if e.state is not ExamState.RECEIVED}
            progress.update(task, completed=len(done))
    finally:
        store.close()
    return done


def _table(cases: list[_Case], done: dict[UUID, ExamSummary], base_url: str) -> Table:
    headers = (
        "quality",
        "anomaly\nscore",
        "flagged,\nrhythm",
    )
    first = Column("ECG\nid of its DiagnosticReport", overflow="fold")
    table = Table(
        first, *headers, box=box.SIMPLE_HEAD, pad_edge=False, caption="! over its threshold"
    )
    for case in cases:
        exam = done.get(case.exam_id)
        if exam is None or exam.findings is None:
            table.add_row(case.title, "no answer", "", "")
            continue
        report = httpx.get(f"{base_url}/fhir/DiagnosticReport/{exam.id}").raise_for_status().json()
        table.add_row(
            f"{case.title}\n{report['id']}",
            _quality(exam.findings),
            _anomaly(exam.findings),
            "\n".join([*_types(exam.findings), *_rhythm(exam.findings)]),
        )
    return table


def _quality(findings: Findings) -> str:
    quality = findings.quality
    faults = [f"{f.lead} {f.reason}" for f in quality.lead_faults]
    return "\n".join([quality.verdict, *[*quality.reasons, *faults][:2]])


def _anomaly(findings: Findings) -> str:
    if findings.anomaly_score is None:
        return "-"
    return f"{findings.anomaly_score:.2f}{' !' if findings.anomalous else ''}"


def _types(findings: Findings) -> list[str]:
    if not findings.types:
        return []
    return [f"{t.code} {t.probability:.2f}" for t in findings.flagged_types] or ["none"]


def _rhythm(findings: Findings) -> list[str]:
    if findings.strip is None:
        return ["-"]
    codes = dict.fromkeys(rhythm.code for rhythm in findings.strip.rhythms)
    ectopy = ectopy_in_words(findings.strip)
    return [rate_in_words(findings.strip), *codes, *([ectopy] if ectopy else [])]


def _one_conclusion(cases: list[_Case], done: dict[UUID, ExamSummary], base_url: str) -> str:
    """Return one report's words: of the ECG with the surest finding."""
    case = max(cases, key=lambda c: _surest(done[c.exam_id]))
    report = httpx.get(f"{base_url}/fhir/DiagnosticReport/{case.exam_id}").json()
    return f"The report on `{case.title}` says:\n  {report['conclusion']}"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="--to") from None


def _keep(cases: list[_Case], folder: Path, base_url: str) -> None:
    """Write what was sent (.hl7), and what a clinician gets of it (.json, .pdf)."""
    for case in cases:
        path = folder / case.title.replace(": ", "-").replace(" ", "-")
        path.with_suffix(".hl7").write_bytes(case.raw)
        for kind, suffix in (("DiagnosticReport", ".json"), ("Binary", ".pdf")):
            answer = httpx.get(f"{base_url}/fhir/{kind}/{case.exam_id}").raise_for_status()
            path.with_suffix(suffix).write_bytes(answer.content)


def _surest(exam: ExamSummary) -> float:
    types = exam.findings.flagged_types if exam.findings else ()
    return max((t.probability for t in types), default=0.0)
