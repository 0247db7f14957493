"""Four reports in a store, and who asks the interface for them."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import httpx
import numpy as np

from db.clinical import Incoming
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from integration.fhir.report import build_report
from model.ecg import Ecg
from model.findings import ABNORMALITY_TYPES, Findings, ModelIdentity, Quality, TypeFinding

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODEL = ModelIdentity("resting-12", "1", "ab" * 32)
FINDINGS = Findings(
    Quality("good"),
    MODEL,
    tuple(TypeFinding(c, 0.1, 0.5) for c in ABNORMALITY_TYPES),
    0.8,
    0.2,
    0.9,
)
# patient, authority, acquired
EXAMS = [
    ("ZZCANARY1", "ADT", datetime(2026, 3, 1, 8, tzinfo=UTC)),
    ("ZZCANARY1", "ADT", datetime(2026, 3, 2, 8, tzinfo=UTC)),
    ("ZZCANARY1", "OTHER", date(2026, 3, 3)),
    ("ZZCANARY2", None, None),
]


def stored(store, ordinal, identifier, authority, acquired):
    ecg = Ecg(np.zeros((1, 100), np.float32), ("II",), 100.0)
    message = NewMessage.whole("mllp", "CART", str(ordinal), b"MSH", NOW)
    exam = NewExam(PatientRef(identifier, authority), ecg, acquired)
    (exam_id,) = store.accept(
        Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])
    ).exam_ids
    issued = NOW + timedelta(seconds=ordinal)
    report = build_report(store.begin_scoring(exam_id), FINDINGS, issued=issued)
    store.save_assessment(exam_id, NewAssessment(FINDINGS, issued, report))
    return exam_id


def request(app, path, method="GET", base="http://127.0.0.1:8080", form=None, **headers):
    async def ask():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=True), base_url=base
        ) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(method, path, headers=named, data=form)

    return asyncio.run(ask())


def found(answer):
    return [
        entry["resource"]["id"]
        for entry in answer.json().get("entry", [])
        if entry["search"]["mode"] == "match"
    ]


class BrokenStore:
    """A store whose every answer is the same error."""

    def __init__(self, error):
        self._error = error

    def schema(self):
        raise self._error

    def read_report(self, exam_id):
        raise self._error

    def search_reports(self, **_):
        raise self._error


PATHS = ["/fhir/DiagnosticReport", f"/fhir/DiagnosticReport/{UUID(int=1)}"]
