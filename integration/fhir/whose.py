"""Whose a resource is, when it was recorded, and on which order."""

import re
from datetime import date, datetime, tzinfo

from db.records import PatientRef
from integration.fhir.bundle import Resources
from integration.fhir.element import Element, blamed_on
from integration.formats.decoded import placed

_PREFERRED = ("MR", "PI")  # table 0203, as with PID-3: medical record, patient internal
_STAMP = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?"
    r"(Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
OBSERVED_AT = ("effectiveDateTime", "effectiveInstant", "effectivePeriod")


def patient_of(resource: Element, resources: Resources) -> PatientRef:
    """Return the patient: of `subject.identifier`, or of a Patient in the same body.

    Of a Patient's identifiers the one of type MR is taken, else of type PI, where there is just one
    such; where there is one identifier at all, whatever its type. No choice is made between others.

    Raises:
        Refused: `patient-missing`, `patient-ambiguous`, `patient-disagrees`, `field-malformed`.
    """
    subject = resource.child("subject")
    if subject is None:
        raise resource.refusal("patient-missing", "no subject", "subject")
    own = _refs(subject.child("identifier"))
    patient = _patient(subject, resource, resources)
    if patient is None:
        if not own:
            detail = "an identifier, or a Patient in the same body, is needed"
            raise subject.refusal("patient-missing", detail)
        return own[0]
    listed = patient.items("identifier")
    if own and not any(own[0] in _refs(identifier) for identifier in listed):
        detail = "the identifier is none of the Patient's that is referred to"
        raise subject.refusal("patient-disagrees", detail)
    return own[0] if own else _chosen(patient)


def identifiers_of(resource: Element, resources: Resources) -> set[str]:
    """Return every identifier that the body has for a resource's patient."""
    subject = resource.child("subject")
    if subject is None:
        return set()
    patient = _patient(subject, resource, resources)
    listed = [subject.child("identifier"), *(patient.items("identifier") if patient else [])]
    return {ref.identifier for identifier in listed for ref in _refs(identifier)}


def acquired_at(
    resource: Element, names: tuple[str, ...] = OBSERVED_AT, zone: tzinfo | None = None
) -> datetime | date | None:
    """Return when it was recorded: an aware time, a date alone where no zone is known, or None.

    Raises:
        Refused: `time-malformed`; `field-malformed` where several times are given.
    """
    given = [name for name in names if name in resource]
    if len(given) > 1:
        raise resource.refusal("field-malformed", "one time is expected", given[1])
    if not given:
        return None
    name, holder = given[0], resource
    if name.endswith(("Period", "period")):
        period = resource.child(name)
        if period is None:
            return None
        name, holder = "start", period
    return _time(holder, name, zone)


def orders_of(resource: Element, resources: Resources) -> tuple[str | None, str | None]:
    """Return the numbers of placer and filler of the one order that it is based on, as far as told.

    A literal reference is a server's name for the order, not a number, and is not taken for one.
    """
    based_on = resource.items("basedOn")
    if len(based_on) != 1:
        return None, None
    order = resources.find(based_on[0].text("reference"), resource)
    listed = [based_on[0].child("identifier")]
    listed += order.resource.items("identifier") if order else []
    numbers: dict[str, set[str]] = {}
    for identifier in listed:
        if identifier is not None and (value := identifier.text("value")):
            numbers.setdefault(_type(identifier), set()).add(value)
    placer = numbers.get("PLAC", numbers.get("", set()))
    return _single(placer), _single(numbers.get("FILL", set()))


def _patient(subject: Element, resource: Element, resources: Resources) -> Element | None:
    reference = subject.text("reference")
    entry = resources.find(reference, resource) if reference else None
    if entry is None:
        return None
    if entry.kind != "Patient":
        raise subject.refusal("patient-missing", "the subject is no Patient", "reference")
    return entry.resource


def _refs(identifier: Element | None) -> list[PatientRef]:
    if identifier is None or not identifier.text("value"):
        return []
    with blamed_on(identifier.at("value")):
        return [PatientRef(identifier.text("value"), identifier.text("system") or None)]


def _chosen(patient: Element) -> PatientRef:
    by_type: dict[str, set[PatientRef]] = {}
    for identifier in patient.items("identifier"):
        if identifier.text("use") != "old":
            by_type.setdefault(_type(identifier), set()).update(_refs(identifier))
    found = {kind: refs for kind, refs in by_type.items() if refs}
    if not found:
        raise patient.refusal("patient-missing", "the Patient has no identifier", "identifier")
    preferred = (found[kind] for kind in _PREFERRED if kind in found)
    candidates = next(preferred, set().union(*found.values()))
    if len(candidates) > 1:
        detail = "several identifiers, none chosen"
        raise patient.refusal("patient-ambiguous", detail, "identifier")
    return next(iter(candidates))


def _type(identifier: Element) -> str:
    kind = identifier.child("type")
    codes = {coding.text("code") for coding in kind.items("coding")} if kind else set()
    return next(
        (code for code in ("MR", "PI", "PLAC", "FILL") if code in codes), min(codes or {""})
    )


def _single(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _time(holder: Element, name: str, zone: tzinfo | None) -> datetime | date | None:
    text = holder.text(name)
    if not text:
        return None
    match = _STAMP.fullmatch(text)
    if match is None:
        raise holder.refusal("time-malformed", "no FHIR dateTime", name)
    if match[3] is None:
        return None
    try:
        if match[4] is None:
            return date.fromisoformat(text)
        return placed(datetime.fromisoformat(text), zone)
    except ValueError:
        raise holder.refusal("time-malformed", "no such time", name) from None
