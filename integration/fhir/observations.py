"""The leads of one Observation: of its components, or its own."""

from dataclasses import dataclass, field

import numpy as np

from integration.fhir.bundle import Entry
from integration.fhir.element import Element
from integration.fhir.leads import lead_in, means_ecg
from integration.fhir.sampled_data import Sampled, is_voltage, read_sampled_data
from integration.hl7v2.leads import OTHER

WITHDRAWN = ("entered-in-error", "cancelled")


@dataclass(frozen=True)
class Lead:
    """One lead and where it stands."""

    name: str
    sampled: Sampled = field(repr=False)
    path: str


def has_samples(entry: Entry) -> bool:
    """Tell whether an Observation has SampledData, of an ECG or of anything."""
    resource = entry.resource
    return entry.kind == "Observation" and (
        "valueSampledData" in resource
        or any("valueSampledData" in component for component in resource.items("component"))
    )


def leads_of(observation: Element) -> list[Lead]:
    """Return the leads, in their order; none where it is no ECG.

    Consecutive components of one lead go on with each other: so HealthKitOnFHIR sends a recording
    that is longer than its components.

    Raises:
        Refused: `lead-duplicate`, `lead-unknown`, `waveform-unsupported`, or what `lead_in` and
            `read_sampled_data` refuse.
    """
    runs: list[list[Lead]] = []
    for holder in (observation, *observation.items("component")):
        data = holder.child("valueSampledData")
        name = _lead_name(observation, holder, data) if data else None
        if data is None or name is None:
            continue
        if observation.text("status") in WITHDRAWN:
            detail = "the Observation is withdrawn"
            raise observation.refusal("waveform-unsupported", detail, "status")
        lead = Lead(name, read_sampled_data(data), data.path)
        if runs and runs[-1][-1].name == name:
            _check_goes_on(runs[-1][-1], lead, data)
            runs[-1].append(lead)
        elif any(run[0].name == name for run in runs):
            raise data.refusal("lead-duplicate", "a lead appears twice, with others between")
        else:
            runs.append([lead])
    return [_joined(run) for run in runs]


def _lead_name(observation: Element, holder: Element, data: Element) -> str | None:
    """Return the lead, or None for another channel."""
    concepts = [holder.child("code")]
    if holder is observation:
        concepts.append(observation.child("bodySite"))
    name = lead_in(*concepts)
    if name is None and means_ecg(observation.child("code"), *concepts) and is_voltage(data):
        raise holder.refusal("lead-unknown", "an ECG, but no lead of the twelve is named", "code")
    return None if name == OTHER else name


def _check_goes_on(before: Lead, after: Lead, data: Element) -> None:
    if after.sampled.rate_hz != before.sampled.rate_hz:
        raise data.refusal("rate-conflict", "a lead goes on at another rate")
    if np.array_equal(after.sampled.mv, before.sampled.mv, equal_nan=True):
        raise data.refusal("lead-duplicate", "the same samples of a lead twice")


def _joined(run: list[Lead]) -> Lead:
    first = run[0]
    if len(run) == 1:
        return first
    steps = {lead.sampled.resolution_mv for lead in run}
    mv = np.concatenate([lead.sampled.mv for lead in run])
    resolution_mv = steps.pop() if len(steps) == 1 else None
    return Lead(first.name, Sampled(mv, resolution_mv, first.sampled.rate_hz), first.path)
