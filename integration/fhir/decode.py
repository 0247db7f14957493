"""FHIR resources to ECGs in millivolts, or to a stable reason why not.

One Observation is one ECG with a lead a component; or several Observations of one lead each are
one ECG, tied by `hasMember`, `derivedFrom`, a DiagnosticReport, or by the same patient and the same
time; or a file is attached. A unit is what is tied like this: it is decoded as a whole or refused.
What has no ECG is ordinary and never an error here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo

import numpy as np
import orjson

from db.records import NewExam, PatientRef
from integration.errors import Refused
from integration.fhir.attachments import TIMES, Attached, attached
from integration.fhir.bundle import Entry, Resources, alone, bundled
from integration.fhir.codes import Json
from integration.fhir.element import Element, blamed_on
from integration.fhir.observations import Lead, has_samples, leads_of
from integration.fhir.parsing import parse_resource
from integration.fhir.whose import acquired_at, orders_of, patient_of
from model.ecg import Ecg

CARRIERS = ("Observation", "DocumentReference", "Media")
_TIES = {"Observation": ("hasMember", "derivedFrom"), "DiagnosticReport": ("result",)}
_MAX_ECGS = 256


@dataclass(frozen=True)
class _Part:
    """An Observation's share of an ECG."""

    entry: Entry
    leads: list[Lead] = field(repr=False)
    patient: PatientRef
    acquired: datetime | date | None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(lead.name for lead in self.leads)


def decode(raw: bytes, zone: tzinfo | None = None) -> tuple[NewExam, ...]:
    """Read a body, an ECG's resource or a Bundle with some, as a whole.

    Args:
        raw: JSON.
        zone: of times that carry none, which R4 forbids; None: such a time counts by its date.

    Raises:
        Refused: with a reason of `integration.errors.ANSWERS` and, where known, the expression.
    """
    resource = parse_resource(raw)
    resources = resources_of(resource)
    found = exams_by_unit(units_of(resources), resources, zone)
    return tuple(exam for exams in found for exam in exams)


def exams_by_unit(
    units: Sequence[Sequence[Entry]], resources: Resources, zone: tzinfo | None = None
) -> list[list[NewExam]]:
    """Return the ECGs of each unit of one body, all of it or none.

    Raises:
        Refused: as `exams_of`; `waveform-unsupported`: too many.
    """
    found: list[list[NewExam]] = []
    for unit in units:
        found.append(exams_of(unit, resources, zone))
        if sum(map(len, found)) > _MAX_ECGS:
            raise Refused("waveform-unsupported", "too many ECGs in one body")
    return found


def resources_of(resource: Json) -> Resources:
    """Return the resources of a body.

    Raises:
        Refused: `bundle-malformed`, `field-malformed`, `json-malformed`.
    """
    if resource["resourceType"] == "Bundle":
        return bundled(Element(resource, "Bundle"))
    return alone(resource)


def units_of(resources: Resources) -> list[tuple[Entry, ...]]:
    """Return the carriers of ECGs, those together that are tied, in the order of the body.

    Raises:
        Refused: `field-malformed`.
    """
    carriers = {id(e.resource.value): e for e in resources.entries if e.kind in CARRIERS}
    root = {key: key for key in carriers}

    def root_of(key: int) -> int:
        while root[key] != key:
            root[key] = root[root[key]]
            key = root[key]
        return key

    for keys in _ties(resources, set(carriers)):
        for key in keys:
            root[root_of(key)] = root_of(keys[0])
    units: dict[int, list[Entry]] = {}
    for key, entry in carriers.items():
        units.setdefault(root_of(key), []).append(entry)
    return [tuple(unit) for unit in units.values()]


def exams_of(
    unit: Sequence[Entry], resources: Resources, zone: tzinfo | None = None
) -> list[NewExam]:
    """Return the ECGs of a unit: usually one.

    Raises:
        Refused: `patient-missing`, `patient-disagrees`, `lead-duplicate`, `rate-conflict`,
            `lengths-differ`, or what its parts are refused for.
    """
    parts = [part for entry in unit if (part := _part(entry, resources, zone))]
    patients = {part.patient for part in parts}
    if len(patients) > 1:
        detail = "Observations that are tied name different patients"
        raise parts[-1].entry.resource.refusal("patient-disagrees", detail, "subject")
    exams = [_exam(group, resources) for group in _recordings(parts)]
    for entry in unit:
        exams += [_exam_of_file(file, resources, zone) for file in attached(entry, resources, zone)]
    return exams


def _ties(resources: Resources, carriers: set[int]) -> Iterator[list[int]]:
    """Yield groups of carriers that something ties together."""
    same: dict[bytes, list[int]] = {}
    for entry in resources.entries:
        tied = [
            found
            for name in _TIES.get(entry.kind, ())
            for item in entry.resource.items(name)
            if (found := resources.find(item.text("reference"), entry.resource))
        ]
        keys = [id(found.resource.value) for found in (entry, *tied) if has_samples(found)]
        keys += [id(entry.resource.value)] if keys and entry.kind in CARRIERS else []
        keys = [key for key in keys if key in carriers]
        if keys:
            yield keys
        if has_samples(entry) and (moment := _moment(entry.resource)):
            same.setdefault(moment, []).append(id(entry.resource.value))
    yield from same.values()


def _moment(observation: Element) -> bytes | None:
    """Return a key of whose and when, or None where no time of day is told."""
    when = [observation.value.get(name) for name in TIMES["Observation"]]
    subject = observation.child("subject")
    whose = subject and [subject.value.get(name) for name in ("reference", "identifier")]
    told = orjson.dumps([whose, when], option=orjson.OPT_SORT_KEYS)
    return told if any(b"T" in orjson.dumps(value) for value in when if value) else None


def _part(entry: Entry, resources: Resources, zone: tzinfo | None) -> _Part | None:
    if not has_samples(entry):
        return None
    leads = leads_of(entry.resource)
    if not leads:
        return None
    acquired = acquired_at(entry.resource, TIMES["Observation"], zone)
    return _Part(entry, leads, patient_of(entry.resource, resources), acquired)


def _recordings(parts: list[_Part]) -> Iterator[list[_Part]]:
    """Yield what was recorded together; nothing is joined across times.

    Observations that all have the same leads are recordings of their own, such as a rhythm and its
    median beat.
    """
    for moment in dict.fromkeys(part.acquired for part in parts):
        group = [part for part in parts if part.acquired == moment]
        if len(group) > 1 and len({part.names for part in group}) == 1:
            yield from ([part] for part in group)
        else:
            yield group


def _exam(parts: list[_Part], resources: Resources) -> NewExam:
    first = parts[0]
    leads = [lead for part in parts for lead in part.leads]
    ecg = _ecg(leads)
    if isinstance(first.acquired, datetime):
        ecg = replace(ecg, start=first.acquired)
    orders = orders_of(first.entry.resource, resources)
    with blamed_on(first.entry.resource.at("basedOn")):
        return NewExam(first.patient, ecg, first.acquired, *orders)


def _ecg(leads: list[Lead]) -> Ecg:
    first, names = leads[0], set[str]()
    for lead in leads:
        if lead.name in names:
            raise Refused("lead-duplicate", "a lead appears twice", expression=lead.path)
        names.add(lead.name)
        if lead.sampled.rate_hz != first.sampled.rate_hz:
            raise Refused("rate-conflict", "leads differ in their rate", expression=lead.path)
        if len(lead.sampled.mv) != len(first.sampled.mv):
            raise Refused("lengths-differ", "leads differ in length", expression=lead.path)
    steps = [lead.sampled.resolution_mv for lead in leads]
    with blamed_on(first.path):
        return Ecg(
            np.stack([lead.sampled.mv for lead in leads]).astype(np.float32),
            tuple(lead.name for lead in leads),
            first.sampled.rate_hz,
            resolution_mv=None if None in steps else tuple(s for s in steps if s is not None),
        )


def _exam_of_file(file: Attached, resources: Resources, zone: tzinfo | None) -> NewExam:
    resource, acquired = file.entry.resource, file.ecg.acquired
    if acquired is None:
        context = resource.value.get("context")  # R4; in R5 the period stands in the resource
        holder = Element(context, resource.at("context")) if isinstance(context, dict) else resource
        acquired = acquired_at(holder, TIMES[file.entry.kind], zone)
    with blamed_on(file.path):
        patient = patient_of(resource, resources)
        return NewExam(patient, file.ecg.ecg, acquired, *orders_of(resource, resources))
