"""The one filter grammar for listing, counting and replaying.

    state:failed,undeliverable sender:CART* received>=2026-11-01 -reason:too-short score>=0.9

Terms are joined by and. A term is `field:value`, or `field` with `<`, `<=`, `>`, `>=` and a number
or a time; commas part alternatives, `*` stands for any characters, a leading `-` negates, double
quotes hold what has spaces. A time without a zone is UTC; a day means its beginning. Identifiers
that are sealed are found whole alone.

Messages, ECGs and deliveries are found by the same terms: a field of another table holds for what
belongs together (messages that have such an ECG, deliveries of such an ECG), and several of them
for one and the same (ECGs with a delivery to this destination that has this state).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from db.records import DeliveryState, ExamState, MessageState
from db.sealed import is_one_of
from db.tables import AssessmentRow, DeliveryRow, ExamRow, MessageRow
from model.errors import HisbundleError

MAX_TERMS = 32
_TERM = re.compile(
    r'(?P<minus>-)?(?P<field>[a-z-]+)(?P<operator><=|>=|<|>|:)(?P<value>"[^"]*"|[^\s"]+)(?:\s+|$)'
)


class FilterError(HisbundleError):
    """A filter that says nothing that can be looked for: `filter-malformed`."""


class Subject(StrEnum):
    """What a filter selects."""

    MESSAGE = "message"
    EXAM = "exam"
    DELIVERY = "delivery"


@dataclass(frozen=True)
class Term:
    """One condition.

    Attributes:
        field: one of FIELDS, or TEXT.
        operator: `:`, `<`, `<=`, `>` or `>=`.
        values: the alternatives.
        negated: whether none of them may hold.
    """

    field: str
    operator: str
    values: tuple[str, ...]
    negated: bool


TEXT = "text"  # looked for in the messages' bytes, one by one, after everything else
_NAMING = {"patient", "order", TEXT}  # fields whose values may identify a patient


@dataclass(frozen=True)
class Filter:
    """A parsed filter.

    Attributes:
        source: as it was written.
        terms: all have to hold.
        texts: what the bytes of the message have to contain.
    """

    source: str
    terms: tuple[Term, ...]
    texts: tuple[str, ...]


Condition = Callable[[str, str], ColumnElement[bool]]


def parse_filter(source: str) -> Filter:
    """Read a filter; the empty one selects everything.

    Raises:
        FilterError: `filter-malformed`, with the place.
    """
    terms, rest = [], source.strip()
    while rest:
        found = _TERM.match(rest)
        if found is None:
            raise FilterError("filter-malformed", f"no term begins at: {rest[:40]}")
        terms.append(_term(found))
        rest = rest[found.end() :]
    if len(terms) > MAX_TERMS:
        raise FilterError("filter-malformed", f"more than {MAX_TERMS} terms")
    texts = [t for t in terms if t.field == TEXT]
    if any(t.negated or t.operator != ":" for t in texts):
        raise FilterError("filter-malformed", "text is neither compared nor negated")
    plain = tuple(t for t in terms if t.field != TEXT)
    for term in plain:
        _condition(term, FIELDS[term.field])  # a wrong number or time is told before anything runs
    return Filter(source, plain, tuple(v for t in texts for v in t.values))


def nameless(source: str) -> str:
    """Return a filter as it was written, without what may name a patient: for the audit log."""
    return _TERM.sub(lambda term: _hidden(term) if term["field"] in _NAMING else term[0], source)


def _hidden(term: re.Match[str]) -> str:
    start, end = term.span("value")
    return f"{term[0][: start - term.start()]}...{term[0][end - term.start() :]}"


def matching(found: Filter, subject: Subject) -> ColumnElement[bool]:
    """Return the condition on the subject's table; `texts` are not in it.

    Terms of one other table hold for the same row of it: a delivery to this destination that has
    this state. What is negated holds for none of its rows.
    """
    together: dict[type[Any], list[ColumnElement[bool]]] = {}
    conditions: list[ColumnElement[bool]] = []
    for term in found.terms:
        field = _field(term, subject)
        condition = _condition(term, field)
        if term.negated:
            # What is not there does not hold.
            conditions.append(_held(field.table, condition, subject).is_not(True))
        else:
            together.setdefault(field.table, []).append(condition)
    conditions += [_held(table, and_(*of), subject) for table, of in together.items()]
    return and_(True, *conditions)  # noqa: FBT003


def _term(found: re.Match[str]) -> Term:
    field, raw = found["field"], found["value"]
    if field != TEXT and field not in FIELDS:
        known = ", ".join(sorted([*FIELDS, TEXT]))
        raise FilterError("filter-malformed", f"no field {field}; there are {known}")
    if raw.startswith('"'):
        values = (raw[1:-1],)
    else:
        values = (raw,) if field == TEXT else tuple(raw.split(","))
    if not all(values):
        raise FilterError("filter-malformed", f"{field} has an empty value")
    return Term(field, found["operator"], values, bool(found["minus"]))


def _field(term: Term, subject: Subject) -> "_Field":
    own = _OF_EXAMS.get(term.field) if subject is Subject.EXAM else None
    return own or FIELDS[term.field]


def _held(
    table: type[Any], condition: ColumnElement[bool], subject: Subject
) -> ColumnElement[bool]:
    return condition if table is _TABLES[subject] else _LINKS[subject, table](condition)


def _condition(term: Term, field: "_Field") -> ColumnElement[bool]:
    if term.operator != ":" and not field.ordered:
        raise FilterError("filter-malformed", f"{term.field} has no order, only {term.field}:value")
    return or_(*(field.test(term.operator, value) for value in term.values))


@dataclass(frozen=True)
class _Field:
    table: type[Any]
    test: Condition
    ordered: bool = False


def _text(column: InstrumentedAttribute[Any]) -> Condition:
    def test(_operator: str, value: str) -> ColumnElement[bool]:
        if "*" not in value:
            return column == value
        escaped = re.sub(r"([%_\\])", r"\\\1", value).replace("*", "%")
        return column.like(escaped, escape="\\")

    return test


def _identifier(token: InstrumentedAttribute[Any]) -> Condition:
    def test(_operator: str, value: str) -> ColumnElement[bool]:
        return _text(token)("", value) if "*" in value else is_one_of(token, [value])

    return test


def _state(column: InstrumentedAttribute[Any], states: type[StrEnum]) -> Condition:
    def test(_operator: str, value: str) -> ColumnElement[bool]:
        if value not in set(states):
            raise FilterError("filter-malformed", f"{value} is none of {', '.join(states)}")
        return column == states(value)

    return test


def _time(column: InstrumentedAttribute[Any]) -> Condition:
    def test(operator: str, value: str) -> ColumnElement[bool]:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise FilterError(
                "filter-malformed", f"{value} is no time: 2026-11-28T12:00 is"
            ) from None
        at = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if operator == ":":
            raise FilterError("filter-malformed", "times are compared by <, <=, > and >=")
        return _ordered(column, operator, at)

    return test


def _number(column: InstrumentedAttribute[Any]) -> Condition:
    def test(operator: str, value: str) -> ColumnElement[bool]:
        try:
            number = float(value)
        except ValueError:
            raise FilterError("filter-malformed", f"{value} is no number") from None
        return column == number if operator == ":" else _ordered(column, operator, number)

    return test


def _ordered(
    column: InstrumentedAttribute[Any], operator: str, value: object
) -> ColumnElement[bool]:
    compared: Mapping[str, Callable[[Any], ColumnElement[bool]]] = {
        "<": column.__lt__,
        "<=": column.__le__,
        ">": column.__gt__,
        ">=": column.__ge__,
    }
    return compared[operator](value)


def _flagged(_operator: str, value: str) -> ColumnElement[bool]:
    escaped = re.sub(r"([%_\\])", r"\\\1", value)
    return AssessmentRow.flagged.like(f"%,{escaped},%", escape="\\")


FIELDS: dict[str, _Field] = {
    "message-state": _Field(MessageRow, _state(MessageRow.state, MessageState)),
    "protocol": _Field(MessageRow, _text(MessageRow.protocol)),
    "sender": _Field(MessageRow, _text(MessageRow.sender)),
    "control-id": _Field(MessageRow, _text(MessageRow.control_id)),
    "refusal": _Field(MessageRow, _text(MessageRow.reason)),
    "received": _Field(MessageRow, _time(MessageRow.received_at), ordered=True),
    "state": _Field(ExamRow, _state(ExamRow.state, ExamState)),
    "reason": _Field(ExamRow, _text(ExamRow.reason)),
    "patient": _Field(ExamRow, _identifier(ExamRow.patient_token)),
    "order": _Field(ExamRow, _identifier(ExamRow.order_token)),
    "acquired": _Field(ExamRow, _time(ExamRow.acquired_at), ordered=True),
    "score": _Field(AssessmentRow, _number(AssessmentRow.anomaly_score), ordered=True),
    "model": _Field(AssessmentRow, _text(AssessmentRow.model)),
    "type": _Field(AssessmentRow, _flagged),
    "destination": _Field(DeliveryRow, _text(DeliveryRow.destination)),
    "delivery-state": _Field(DeliveryRow, _state(DeliveryRow.state, DeliveryState)),
    "answer": _Field(DeliveryRow, _text(DeliveryRow.last_answer)),
}

# What exams have themselves, the same as their messages, and are sorted by.
_OF_EXAMS = {"received": _Field(ExamRow, _time(ExamRow.received_at), ordered=True)}

_TABLES: dict[Subject, type[Any]] = {
    Subject.MESSAGE: MessageRow,
    Subject.EXAM: ExamRow,
    Subject.DELIVERY: DeliveryRow,
}


def _exams_with(condition: ColumnElement[bool], table: type[Any]) -> Select[Any]:
    """Return the ids of exams whose message, assessment or some delivery fulfils a condition."""
    if table is MessageRow:
        return select(ExamRow.id).join(MessageRow).where(condition)
    return select(table.exam_id).where(condition)


_LINKS: dict[tuple[Subject, type[Any]], Callable[[ColumnElement[bool]], ColumnElement[bool]]] = {
    (Subject.MESSAGE, ExamRow): lambda c: MessageRow.id.in_(select(ExamRow.message_id).where(c)),
    (Subject.EXAM, MessageRow): lambda c: ExamRow.message_id.in_(select(MessageRow.id).where(c)),
    (Subject.DELIVERY, ExamRow): lambda c: DeliveryRow.exam_id.in_(select(ExamRow.id).where(c)),
    (Subject.DELIVERY, MessageRow): lambda c: DeliveryRow.exam_id.in_(_exams_with(c, MessageRow)),
} | {
    link: made
    for table in (AssessmentRow, DeliveryRow)
    for link, made in (
        (
            (Subject.MESSAGE, table),
            lambda c, t=table: MessageRow.id.in_(
                select(ExamRow.message_id).where(ExamRow.id.in_(_exams_with(c, t)))
            ),
        ),
        ((Subject.EXAM, table), lambda c, t=table: ExamRow.id.in_(_exams_with(c, t))),
        ((Subject.DELIVERY, table), lambda c, t=table: DeliveryRow.exam_id.in_(_exams_with(c, t))),
    )
}
