"""Conditional creates: whether an Observation is here already (R4, http.html#ccreate)."""

import re

from db.store import Store
from integration.errors import Refused
from integration.fhir.answering import Kept, Reply, created, information, refusal
from integration.fhir_intake import PROTOCOL

_ALONE = re.compile(r"Observation/[0-9a-f-]{36}")


def existing(store: Store, identifier: str) -> Reply | None:
    """Return the answer to a conditional create of what came before, alone and not in a Bundle.

    Two that come at the same instant with different content are both taken, and marked as a
    conflict.

    Args:
        store: where it would be.
        identifier: its first business identifier, as `system|value`.

    Returns:
        200 with its place, 412 where there are several, None where there is none.

    Raises:
        StoreUnavailable: it cannot be told.
    """
    if identifier.startswith("Observation/"):  # what goes by its id, without an identifier
        return None
    answers = store.answers_to(PROTOCOL, identifier)
    places = {place for raw in answers if (place := _place(Kept.from_bytes(raw)))}
    if len(places) > 1:
        detail = "several Observations have this identifier"
        return created(refusal(Refused("condition-ambiguous", detail)))
    return Reply(200, information("it is here already"), places.pop()) if places else None


def _place(kept: Kept) -> str | None:
    """Return where it is, of the answer to what came alone: its id is its message's."""
    place = kept.entries[0].get("location", "") if len(kept.entries) == 1 else ""
    return place if _ALONE.fullmatch(place) else None
