"""The outbound half of `hisbundle bench fhir`: reports sent to a local FHIR receiver a second."""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any
from uuid import UUID, uuid4

from db.records import Assessed, Exam, ExamState, PatientRef
from db.reviews import ReportStatus
from integration.cli.fhir_receiver import FhirReceiver
from integration.fhir.client import FhirClient
from integration.fhir.codes import Json
from integration.fhir.report import attach_page, build_report
from integration.render import page_of
from model.findings import Findings, ModelIdentity, Quality, TypeFinding
from model.simulate import simulate

_FINDINGS = Findings(
    quality=Quality("good"),
    model=ModelIdentity("bench", "1", "ab" * 32),
    types=(TypeFinding("MI", 0.9, 0.5),),
    normal_probability=0.05,
    anomaly_score=0.99,
    anomaly_threshold=0.95,
)


def measure_out(reports: int, connections: tuple[int, ...]) -> list[dict[str, Any]]:
    """Send so many reports over so many connections, each row a run with reports of its own.

    The receiver is a process of its own and keeps what it counts in memory: what is measured is our
    side, from the report in the database to the answer, drawing of the page included.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    receiver = context.Process(target=_receive, args=(theirs,), daemon=True)
    receiver.start()
    try:
        url = ours.recv()
        return [_measured(url, reports, number) for number in connections]
    finally:
        ours.send(None)
        receiver.join()


def _receive(pipe: Connection) -> None:
    with FhirReceiver() as receiver:
        pipe.send(receiver.url)
        pipe.recv()


def _measured(url: str, reports: int, connections: int) -> dict[str, Any]:
    exams = [_exam(uuid4()) for _ in range(reports)]
    client = FhirClient(url)
    began, worked = time.monotonic(), time.process_time()
    try:
        with ThreadPoolExecutor(connections) as pool:
            took_s = sorted(pool.map(lambda exam: _sent(client, exam), exams))
    finally:
        client.close()
    seconds, processor_s = time.monotonic() - began, time.process_time() - worked
    return {
        "connections": connections,
        "reports": reports,
        "a_second": round(reports / seconds, 1),
        "processor_ms_a_report": round(1000 * processor_s / reports, 1),
        "post_p50_ms": round(1000 * took_s[len(took_s) // 2], 1),
        "post_p99_ms": round(1000 * took_s[(len(took_s) * 99) // 100], 1),
    }


def _sent(client: FhirClient, exam: Exam) -> float:
    """Build, draw and post a report; return how long the post took."""
    bundle = _report(exam)
    began = time.monotonic()
    client.post_transaction(bundle)
    return time.monotonic() - began


def _report(exam: Exam) -> Json:
    now = datetime.now(UTC)
    status = ReportStatus.PRELIMINARY
    page = page_of(Assessed(exam, _FINDINGS, now, version=1, status=status, issued_at=now))
    return attach_page(build_report(exam, _FINDINGS, issued=now), page)


def _exam(id_: UUID) -> Exam:
    now = datetime.now(UTC)
    return replace(_TEMPLATE, id=id_, acquired=now, received_at=now)


_TEMPLATE = Exam(
    id=UUID(int=0),
    message_id=UUID(int=0),
    state=ExamState.RECEIVED,
    reason=None,
    patient=PatientRef("4711"),
    ecg=simulate("normal", seed=7),
    acquired=None,
    placer_order=None,
    filler_order=None,
    received_at=datetime.now(UTC),
    attempts=1,
)
