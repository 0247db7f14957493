"""One exam, and findings of every kind."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import Exam, ExamState, MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from integration.fhir.report import build_report
from model.ecg import LEADS_12, Ecg
from model.findings import (
    ABNORMALITY_TYPES,
    Beat,
    Explanation,
    Findings,
    Interval,
    LeadFault,
    ModelIdentity,
    Quality,
    RhythmFinding,
    StripFindings,
    TypeFinding,
)

MODEL = ModelIdentity("resting-12", "1.2.0", "5e" * 32)


@pytest.fixture(scope="session")
def exam():
    return Exam(
        id=UUID("11111111-2222-5333-8444-555555555555"),
        message_id=UUID("99999999-2222-5333-8444-555555555555"),
        state=ExamState.RECEIVED,
        reason=None,
        patient=PatientRef("MRN-4711", "ST-ELSEWHERE"),
        ecg=Ecg(np.zeros((12, 1000), np.float32), LEADS_12, 100.0),
        acquired=datetime(2026, 3, 1, 8, 30, 15, tzinfo=timezone(timedelta(hours=-5))),
        placer_order="PLACER-1",
        filler_order="FILLER-2",
        received_at=datetime(2026, 3, 1, 13, 31, tzinfo=UTC),
        attempts=1,
    )


@pytest.fixture(scope="session")
def issued():
    return datetime(2026, 3, 1, 13, 31, 2, 250_000, tzinfo=UTC)


def _types(**probabilities):
    return tuple(TypeFinding(c, probabilities.get(c, 0.03), 0.5) for c in ABNORMALITY_TYPES)


def _findings(quality, types, score, *intervals):
    explanation = Explanation(0.08, {}, {}, intervals)
    return Findings(quality, MODEL, types, 0.4, score, 0.95, explanation)


GOOD = Quality("good")
FINDINGS = {
    "flagged": _findings(
        GOOD,
        _types(MI=0.91, STTC=0.5, HYP=0.77),
        0.99,
        Interval(3.12, 3.52, "V2", 0.4, "MI"),
        Interval(7.04, 7.36, "V5", 0.2, "MI"),
        Interval(1.0, 1.4, "aVL", 0.1, "CD"),
        Interval(7.1, 7.5, "II", 0.3, "anomaly"),
    ),
    "unflagged": _findings(GOOD, _types(), 0.2),
    "anomalous": _findings(GOOD, _types(), 0.95, Interval(7.1, 7.5, "II", 0.3, "anomaly")),
    "limited": _findings(
        Quality("limited", (), (LeadFault("V1", "noise"), LeadFault("V2", "flat-line"))),
        _types(CD=0.6),
        0.1,
    ),
    "unscorable": Findings(
        Quality("unscorable", ("too-few-leads", "no-qrs"), (LeadFault("V1", "lead-off"),)), MODEL
    ),
}

STRIP_MODEL = ModelIdentity("strip", "1.0.0", "77" * 32)
STRIP = StripFindings(
    STRIP_MODEL,
    leads=("II",),
    heart_rate_bpm=72.46,
    beats=tuple(Beat(0.8 * i, "NNVNSNNNVN"[i], 0.9, 0.5) for i in range(10)),
    rhythms=(
        RhythmFinding("AF", 0.0, 6.5, 0.834, 0.5),
        RhythmFinding("bradycardia", 6.5, 9.9, 38.2, 50.0),
    ),
    attention=(0.1,) * 10,
)
FINDINGS["rhythm"] = replace(FINDINGS["unflagged"], strip=STRIP)
FINDINGS["plain-rhythm"] = replace(
    FINDINGS["unflagged"], strip=replace(STRIP, heart_rate_bpm=None, beats=(), rhythms=())
)
FINDINGS["strip"] = Findings(GOOD, STRIP_MODEL, strip=STRIP)


@pytest.fixture(scope="session", params=list(FINDINGS))
def any_findings(request):
    return FINDINGS[request.param]


@pytest.fixture(scope="session")
def findings_of():
    return FINDINGS.__getitem__


@pytest.fixture
def reported(exam):
    """A function that stores an ECG with its report, issued an hour ago, and returns its id."""

    def store_one(store, kind="flagged", critical=(), destinations=("ehr",)):
        issued = datetime.now(UTC) - timedelta(hours=1)
        message = NewMessage.whole("mllp", "", "1", b"MSH|", issued)
        new = NewExam(exam.patient, exam.ecg, exam.acquired)
        (id_,) = store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [new])).exam_ids
        own = store.load_exam(id_)
        report = build_report(own, FINDINGS[kind], issued=issued, critical=critical)
        answer_by = issued + timedelta(minutes=30)
        told = {"critical": critical, "answer_by": answer_by}
        store.save_assessment(
            id_, NewAssessment(FINDINGS[kind], issued, report, destinations, **told)
        )
        return id_

    return store_one
