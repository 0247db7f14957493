"""The search parameters of the read-only interface (R4 search.html).

Handling is strict: what is not understood is refused rather than ignored, for an ignored patient
would show everybody's reports.
"""

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from uuid import UUID

from integration.errors import Refused
from integration.fhir.codes import ID

DEFAULT_COUNT, MAX_COUNT = 50, 200
MAX_VALUE_CHARACTERS = 256

_PATIENT = {
    f"{name}{suffix}"
    for name in ("patient", "subject")
    for suffix in ("", ".identifier", ":identifier")
}
_INCLUDE_RESULTS = {"DiagnosticReport:result", "DiagnosticReport:result:Observation"}
_PAGING = {"_count", "_offset"}
_DATE = re.compile(r"(eq|ge|gt|le|lt)?(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TOKEN = re.compile(r"(?:((?:[^|,\\]|\\.)*)(\|))?((?:[^|,\\]|\\.)+)", re.DOTALL)


@dataclass(frozen=True)
class Query:
    """A search of DiagnosticReports; None asks for nothing in particular.

    Attributes:
        identifier: the patient's.
        authority: that assigned it.
        exam_id: of the one report that is meant.
        date_from: first day.
        date_to: last day.
        count: reports a page; 0 asks for the total alone.
        offset: reports to skip.
        include_results: whether the Observations come along.
        impossible: whether no report can match.
        parameters: as given, without paging, for the links.
    """

    identifier: str | None = field(default=None, repr=False)
    authority: str | None = field(default=None, repr=False)
    exam_id: UUID | None = None
    date_from: date | None = None
    date_to: date | None = None
    count: int = DEFAULT_COUNT
    offset: int = 0
    include_results: bool = False
    impossible: bool = False
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def parse_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """Read the parameters of a search; repeated ones narrow it further.

    Raises:
        Refused: `parameter-unsupported` or `parameter-malformed`.
    """
    query = Query()
    for name, value in pairs:
        if "\0" in value or len(value) > MAX_VALUE_CHARACTERS:
            raise _malformed(name, f"at most {MAX_VALUE_CHARACTERS} characters, none of them NUL")
        query = _narrowed(query, name, value)
        if name not in _PAGING:
            query = replace(query, parameters=(*query.parameters, (name, value)))
    return query


def exam_id_in(logical_id: str) -> UUID | None:
    """Return the exam that a logical id, `<exam id>` or `<exam id>-<slug>`, belongs to."""
    try:
        exam_id = UUID(logical_id[:36])
    except ValueError:
        return None
    return exam_id if logical_id[:36] == str(exam_id) else None


def _narrowed(query: Query, name: str, value: str) -> Query:
    if name in _PATIENT:
        return _of_patient(query, name, value)
    if name in {"identifier", "_id"}:
        return _of_exam(query, name, value)
    if name == "date":
        return _between(query, value)
    if name in _PAGING:
        return _paged(query, name, value)
    if name == "_include" and value in _INCLUDE_RESULTS:
        return replace(query, include_results=True)
    if name == "_format":
        return query  # judged before, together with Accept
    raise Refused(
        "parameter-unsupported", f"{name[:64]!r} is not supported, or not with this value"
    )


def _of_patient(query: Query, name: str, value: str) -> Query:
    if name in {"patient", "subject"} and re.search(r"(^|/)Patient/", value):
        raise _malformed(name, "no Patient is kept here; ask by identifier")
    authority, identifier = _token(name, value)
    if authority == "":
        raise _malformed(name, "identifiers of no authority cannot be told apart; drop the |")
    other = query.identifier not in (None, identifier)
    other |= None not in (query.authority, authority) and query.authority != authority
    return replace(
        query,
        identifier=identifier,
        authority=query.authority if authority is None else authority,
        impossible=query.impossible or other,
    )


def _of_exam(query: Query, name: str, value: str) -> Query:
    system, code = _token(name, value)
    exam_id = exam_id_in(code) if len(code) == 36 else None
    foreign = system not in ((None,) if name == "_id" else (None, ID))
    other = query.exam_id not in (None, exam_id)
    return replace(
        query,
        exam_id=exam_id,
        impossible=query.impossible or exam_id is None or foreign or other,
    )


def _between(query: Query, value: str) -> Query:
    prefix, first, last = _days(value)
    try:
        after, before = last + timedelta(days=1), first - timedelta(days=1)
    except OverflowError:
        raise _malformed("date", "the year is out of range") from None
    date_from = {"ge": first, "eq": first, "gt": after}.get(prefix)
    date_to = {"le": last, "eq": last, "lt": before}.get(prefix)
    return replace(
        query,
        date_from=max(filter(None, (query.date_from, date_from)), default=None),
        date_to=min(filter(None, (query.date_to, date_to)), default=None),
    )


def _days(value: str) -> tuple[str, date, date]:
    """Return the prefix, and the first and last day that a year, month or day covers."""
    found = _DATE.fullmatch(value)
    if found is None:
        raise _malformed("date", "a year, month or day with eq, ge, gt, le, lt or no prefix")
    prefix, year, month, day = found.groups()
    try:
        first = date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        raise _malformed("date", "there is no such day") from None
    if day is not None:
        return prefix or "eq", first, first
    last_month = int(month or 12)
    return (
        prefix or "eq",
        first,
        date(first.year, last_month, monthrange(first.year, last_month)[1]),
    )


def _paged(query: Query, name: str, value: str) -> Query:
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise _malformed(name, "a number of at most nine digits")
    if name == "_offset":
        return replace(query, offset=int(value))
    return replace(query, count=min(int(value), MAX_COUNT))


def _token(name: str, value: str) -> tuple[str | None, str]:
    r"""Read `code` or `system|code`; `\` escapes (R4 search.html, 3.1.1.3.2)."""
    found = _TOKEN.fullmatch(value)
    if found is None:
        raise _malformed(name, "one identifier, as value or system|value, is expected")
    system, bar, code = found.groups()
    return (_unescaped(system) if bar else None), _unescaped(code)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _malformed(name: str, expected: str) -> Refused:
    return Refused("parameter-malformed", f"{name[:64]!r}: {expected}")
