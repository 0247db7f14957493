"""Conditional creates: whether an ECG is here already (R4, http.html#ccreate).

What is stored by itself is found by the first business identifier of its first resource: what came
alone, the parts of a batch, and a transaction whose one ECG has a condition. A transaction has one
name, so of several ECGs with conditions in one of them none would be found again.
"""

import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl

from integration.errors import Refused
from integration.fhir.answering import Kept, Reply, created, entry_response, information, refusal
from integration.fhir.bundle import Entry
from integration.fhir.codes import Json
from integration.fhir_body import PROTOCOL, control_id

_ALONE = re.compile(r"Observation/[0-9a-f-]{36}")
_HERE = "it is here already"

# As `Store.answers_to`: what the messages of a protocol and a name were answered.
Look = Callable[[str, str], tuple[bytes, ...]]


def existing(look: Look, identifier: str) -> Reply | None:
    """Return the answer to a conditional create of what came before.

    Two that come at the same instant with different content are both taken, and marked as a
    conflict.

    Args:
        look: finds what was answered.
        identifier: its first business identifier, as `system|value`.

    Returns:
        200 with its place, 412 where there are several, None where there is none.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    try:
        places = _places(look, identifier)
    except Refused as error:
        return created(refusal(error))
    return Reply(200, information(_HERE), places[0]) if places else None


def existing_unit(look: Look, unit: Sequence[Entry]) -> dict[int, Json]:
    """Return what is answered to the entries of one ECG that is here already; else nothing.

    Args:
        look: finds what was answered.
        unit: what is tied together in a Bundle; one entry with a condition stands for all.

    Returns:
        `Bundle.entry.response` by the `id` of the entry's resource.

    Raises:
        Refused: `parameter-unsupported`, also of a condition by which the ECG itself would not be
            found again; `condition-ambiguous`: several are here, or a part.
        StoreUnavailable: it cannot be told.
    """
    _check_kept(unit)
    for entry in unit:
        identifier = condition_of(entry)
        try:
            places = _places(look, identifier) if identifier else []
        except Refused as error:
            raise of_condition(entry, error) from None
        if places and len(places) != len(unit):
            raise of_condition(
                entry, Refused("condition-ambiguous", "a part of it is here already")
            )
        if places:
            told = [entry_response(200, information(_HERE), place) for place in places]
            return {id(e.resource.value): one for e, one in zip(unit, told, strict=True)}
    return {}


def condition_of(entry: Entry) -> str | None:
    """Return the business identifier that an entry's ifNoneExist asks for, as `system|value`.

    Raises:
        Refused: `parameter-unsupported`.
    """
    asked = entry.request.text("ifNoneExist") if entry.request else ""
    try:
        return identifier_in(asked) if asked else None
    except Refused as error:
        raise of_condition(entry, error) from None


def check_name(identifier: str, resource: Json) -> None:
    """Refuse a condition by which its own ECG would not be found again: it would keep nothing out.

    Args:
        identifier: that is asked for, as `system|value`.
        resource: the first of the ECG.

    Raises:
        Refused: `parameter-unsupported`.
    """
    if identifier != control_id(resource):
        detail = "a condition names the resource's first identifier, as system|value"
        raise Refused("parameter-unsupported", detail)


def identifier_in(condition: str) -> str:
    """Return the business identifier that a condition asks for, as `system|value`.

    Raises:
        Refused: `parameter-unsupported`.
    """
    match parse_qsl(condition.partition("?")[2] or condition, keep_blank_values=True):
        case [("identifier", value)] if value:
            return value.removeprefix("|")
    raise Refused("parameter-unsupported", "a condition is taken with one identifier")


def _check_kept(unit: Sequence[Entry]) -> None:
    asking = {name: entry for entry in unit if (name := condition_of(entry))}
    first = unit[0].resource.value
    if asking and control_id(first) not in asking:
        name, entry = next(iter(asking.items()))
        try:
            check_name(name, first)
        except Refused as error:
            raise of_condition(entry, error) from None


def _places(look: Look, identifier: str) -> list[str]:
    """Return where the resources of the one ECG of this name are; none where there is none.

    Raises:
        Refused: `condition-ambiguous`.
    """
    if identifier.startswith("Observation/"):  # what goes by its id, without an identifier
        return []
    answers = map(Kept.from_bytes, look(PROTOCOL, identifier))
    found = {tuple(places): None for kept in answers if (places := _named(kept))}
    if len(found) > 1:
        raise Refused("condition-ambiguous", "several ECGs have this identifier")
    return [*next(iter(found), ())]


def of_condition(entry: Entry, error: Refused) -> Refused:
    """Return a refusal that points at an entry's condition, in the Bundle that was posted."""
    place = f"{entry.resource.path.removesuffix('.resource')}.request.ifNoneExist"
    return Refused(error.reason, error.detail, expression=place)


def _named(kept: Kept) -> list[str]:
    """Return where the resources of an ECG are, if the message goes by the name of its first."""
    places = [entry["location"] for entry in kept.entries if "location" in entry]
    alone = len(kept.entries) == 1 and bool(places) and bool(_ALONE.fullmatch(places[0]))
    return places if kept.named or alone else []
