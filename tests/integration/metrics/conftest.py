from datetime import UTC, datetime

import pytest

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from model.simulate import simulate

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def accept():
    """A function that stores a message of a canary with one ECG, or refuses one."""

    def accept(inbox, control_id, refused=None, sender="CART^ED"):
        message = NewMessage.whole("mllp", sender, control_id, b"MSH|ZZCANARY", NOW)
        if refused:
            return inbox.accept(Incoming(message, MessageState.REFUSED, refused, b"AR"))
        exam = NewExam(PatientRef("ZZCANARY"), simulate("normal", seed=1))
        return inbox.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]))

    return accept
