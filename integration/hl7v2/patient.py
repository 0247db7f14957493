"""Whom an ECG belongs to: PID-3, and nothing else (HL7 v2.5.1, 3.4.2.3)."""

from db.records import PatientRef
from integration.errors import Refused
from integration.hl7v2.message import Message, Segment, part

_MAX_IDENTIFIERS = 64
_PREFERRED = ("MR", "PI")  # table 0203: medical record number, patient internal identifier


def patient_of(message: Message, pids: tuple[Segment, ...]) -> PatientRef:
    """Return the patient that the PID segments of one group agree on.

    Of several identifiers in PID-3 the one of type MR is taken, else of type PI, where there is
    just one such; where there is one identifier at all, it is taken whatever its type. No choice is
    ever made between others: a national id, an account and an old number look alike.

    Raises:
        Refused: `patient-missing`, `patient-ambiguous`.
    """
    if not pids:
        raise Refused("patient-missing", "no PID segment", ("PID", 1, 3))
    refs = {_chosen(message, pid) for pid in pids}
    if len(refs) > 1:
        raise Refused("patient-ambiguous", "several PID with different ids", pids[-1].at(3))
    return refs.pop()


def identifiers(message: Message, pid: Segment) -> set[str]:
    """Return every identifier that PID has for its patient: PID-2, PID-3, PID-4."""
    separator = message.delimiters.repetition
    values = [v for n in (2, 3, 4) for v in pid.field(n).split(separator, _MAX_IDENTIFIERS)]
    return {message.components(value)[0] for value in values} - {""}


def _chosen(message: Message, pid: Segment) -> PatientRef:
    by_type: dict[str, set[PatientRef]] = {}
    repetitions = pid.field(3).split(message.delimiters.repetition, _MAX_IDENTIFIERS)
    if len(repetitions) > _MAX_IDENTIFIERS:
        raise Refused("patient-ambiguous", "PID-3 has too many identifiers", pid.at(3))
    for repetition in repetitions:
        parts = repetition.split(message.delimiters.component, 5)
        identifier = message.text(parts[0])
        if identifier:
            kind = message.text(parts[4]) if len(parts) > 4 else ""
            authority = _authority(message, parts[3]) if len(parts) > 3 else None
            by_type.setdefault(kind.upper(), set()).add(PatientRef(identifier, authority))
    if not by_type:
        raise Refused("patient-missing", "PID-3 has no identifier", pid.at(3))
    preferred = (by_type[kind] for kind in _PREFERRED if kind in by_type)
    candidates = next(preferred, set().union(*by_type.values()))
    if len(candidates) > 1:
        raise Refused("patient-ambiguous", "PID-3 has several identifiers, none chosen", pid.at(3))
    return next(iter(candidates))


def _authority(message: Message, component: bytes) -> str | None:
    """Return CX.4 as text: its namespace, else its universal id."""
    parts = message.subcomponents(component)
    return part(parts, 1) or part(parts, 2) or None
