"""What an intake needs of the store: somewhere that keeps what came."""

import logging
from collections.abc import Sequence
from typing import Protocol

from db.clinical import Clinical
from db.records import MessageState, NewExam, NewMessage, Receipt
from integration.logs import traced

NOTHING_ELSE = Clinical()
_log = logging.getLogger(__name__)


class Inbox(Protocol):
    """db.store.Store, or what stands before it."""

    def accept(
        self,
        message: NewMessage,
        state: MessageState,
        reason: str | None,
        answer: bytes,
        exams: Sequence[NewExam] = (),
        *,
        clinical: Clinical = NOTHING_ELSE,
        rung: bool = False,
    ) -> Receipt:
        """Keep a message; see `db.exams.Exams.accept`."""
        ...


def tell_ecgs(receipt: Receipt) -> None:
    """Log which ECGs wait now because of a message: from here on each is traced by its own id."""
    for exam_id in receipt.exam_ids:
        with traced(exam_id):
            _log.info("ecg waits message=%s", receipt.message_id)
