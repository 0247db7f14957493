from datetime import UTC, datetime

import pytest

from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.store import Store
from model.simulate import simulate
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    url = new_database(tmp_path / "test.db")
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def accept():
    """A function that stores a message of a canary with one ECG, or refuses one."""

    def accept(inbox, control_id, refused=None, sender="CART^ED"):
        message = NewMessage.whole("mllp", sender, control_id, b"MSH|ZZCANARY", NOW)
        if refused:
            return inbox.accept(message, MessageState.REFUSED, refused, b"AR")
        exam = NewExam(PatientRef("ZZCANARY"), simulate("normal", seed=1))
        return inbox.accept(message, MessageState.ACCEPTED, None, b"AA", [exam])

    return accept
