"""What an intake needs of the store: somewhere that keeps what came."""

import logging
from collections.abc import Sequence
from typing import Protocol

from db.clinical import Incoming
from db.records import Receipt
from integration.logs import traced

_log = logging.getLogger(__name__)


class Inbox(Protocol):
    """db.store.Store, or what stands before it."""

    def accept(self, incoming: Incoming, *, rung: bool = False) -> Receipt:
        """Keep a message; see `db.messages.Messages.accept`."""
        ...


class BatchInbox(Inbox, Protocol):
    """One that keeps many messages at once."""

    def accept_all(self, incoming: Sequence[Incoming], *, rung: bool = False) -> list[Receipt]:
        """Keep messages, all or none; see `db.messages.Messages.accept_all`."""
        ...


def tell_ecgs(receipt: Receipt) -> None:
    """Log which ECGs wait now because of a message: from here on each is traced by its own id."""
    for exam_id in receipt.exam_ids:
        with traced(exam_id):
            _log.info("ecg waits message=%s", receipt.message_id)
