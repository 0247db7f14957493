from datetime import UTC, datetime

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from model.ecg import Ecg
from model.findings import Findings, ModelIdentity, Quality, TypeFinding

MODEL = ModelIdentity("resting", "1", "ab" * 32)


@pytest.fixture
def received(store):
    """A function that stores one ECG as an intake without a broker does, and returns its id."""

    def receive(control_id="1", patient="4711", samples=500):
        raw = f"MSH|{control_id}".encode()
        message = NewMessage.whole("mllp", "CART^ED", control_id, raw, datetime.now(UTC))
        ecg = Ecg(np.zeros((1, samples), np.float32), ("II",), 500.0)
        exam = NewExam(PatientRef(patient), ecg)
        receipt = store.accept(
            Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]), rung=False
        )
        return receipt.exam_ids[0]

    return receive


@pytest.fixture
def flagged():
    return Findings(
        quality=Quality("good"),
        model=MODEL,
        types=(TypeFinding("MI", 0.9, 0.5),),
        normal_probability=0.05,
        anomaly_score=0.99,
        anomaly_threshold=0.95,
    )


@pytest.fixture
def unscorable():
    return Findings(quality=Quality("unscorable", ("too-short",)), model=MODEL)


class FixedScorer:
    """Stands for the network: says the same of every ECG, or breaks."""

    def __init__(self, says):
        self.says = says
        self.asked = 0

    def score(self, ecg):
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def scorer(flagged):
    return FixedScorer(flagged)
