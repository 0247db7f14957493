"""What a message tells, as frozen values: measurements, beds and orders beside its ECGs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from db.records import Bed, MessageState, NewExam, NewMessage, PatientRef, check_keepable


class Quantity(StrEnum):
    """What a cart measures; intervals in ms, axes in degrees, the rate a minute."""

    HEART_RATE = "heart-rate"
    RR = "rr-interval"
    PR = "pr-interval"
    QRS = "qrs-duration"
    QT = "qt-interval"
    QTC = "qtc"  # by a formula that is not told
    QTC_BAZETT = "qtc-bazett"
    QTC_FRIDERICIA = "qtc-fridericia"
    P_AXIS = "p-axis"
    QRS_AXIS = "qrs-axis"
    T_AXIS = "t-axis"


@dataclass(frozen=True)
class Measurement:
    """One number that a cart measured.

    Attributes:
        quantity: what was measured.
        value: the number, in `unit`; as sent where there is none.
        unit: UCUM `/min`, `ms` or `deg`; None: the sender did not say.
    """

    quantity: Quantity
    value: float
    unit: str | None


@dataclass(frozen=True)
class NewResult:
    """What a cart says of one ECG: shown beside what is found here, never scored.

    Attributes:
        patient: whose it is, or None: the message does not say.
        measurements: numbers.
        statements: the cart's sentences, as sent.
        acquired: as `NewExam.acquired`.
        placer_order: OBR-2, or None.
        filler_order: OBR-3, or None.
        exam: ordinal of the message's ECG that it belongs to, or None.

    Raises:
        EcgError: `field-malformed`: an order number is not keepable.
    """

    patient: PatientRef | None
    measurements: tuple[Measurement, ...]
    statements: tuple[str, ...] = field(repr=False)
    acquired: datetime | date | None = None
    placer_order: str | None = field(default=None, repr=False)
    filler_order: str | None = field(default=None, repr=False)
    exam: int | None = None

    def __post_init__(self) -> None:
        check_keepable(self.placer_order, self.filler_order)


@dataclass(frozen=True)
class BedMove:
    """From `at` on, until the patient's next move, a patient lies in a bed or in none.

    Attributes:
        patient: who.
        at: aware.
        bed: None: in no bed that is known.
        cancels: the patient's move before this one never happened.
    """

    patient: PatientRef
    at: datetime
    bed: Bed | None
    cancels: bool = False


@dataclass(frozen=True)
class OrderRef:
    """An order for a patient, by the numbers that results will carry.

    Raises:
        EcgError: `field-malformed`: a number is not keepable.
    """

    patient: PatientRef
    placer_order: str = field(repr=False)
    filler_order: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_keepable(self.placer_order, self.filler_order)


@dataclass(frozen=True)
class Clinical:
    """What one message tells beside its ECGs.

    Attributes:
        results: carts' measurements and statements.
        moves: of patients between beds.
        orders: placed.
    """

    results: tuple[NewResult, ...] = ()
    moves: tuple[BedMove, ...] = ()
    orders: tuple[OrderRef, ...] = ()


NOTHING_ELSE = Clinical()


@dataclass(frozen=True)
class Incoming:
    """A message as it is to be stored.

    Attributes:
        message: as it arrived.
        state: what became of it.
        reason: stable code, when refused.
        answer: to be sent once it is stored.
        exams: its ECGs, in their order. A short one that says when it began is a packet, and waits
            for the others of its window. One that is known by its bed alone gets the patient who
            lay there, now or once it is told; it is never guessed.
        clinical: what else it tells.
    """

    message: NewMessage
    state: MessageState
    reason: str | None
    answer: bytes = field(repr=False)
    exams: Sequence[NewExam] = ()
    clinical: Clinical = NOTHING_ELSE
