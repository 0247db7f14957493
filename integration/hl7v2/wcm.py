"""Shape B: waveforms of IHE's profile WCM (IHE PCD TF-2, PCD-01 with the waveform option).

One NA per lead; what it means stands in further OBX, its children by OBX-4: sampling rate or
period, resolution (value = sample * resolution), range. OBX-4 is a path, MDS.VMD.channel.metric,
and a child's path goes on from its parent's; senders are in the field whose attributes are siblings
on the fifth level, or belong to a whole device above. A waveform that is none of the twelve leads
is passed over.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from integration.errors import Refused
from integration.hl7v2.generic import suffix_of
from integration.hl7v2.leads import OTHER, lead_of, scalar_lead
from integration.hl7v2.message import Message, Segment, part
from integration.hl7v2.packets import check_period
from integration.hl7v2.samples import SENTINELS, Samples, parse_samples
from integration.hl7v2.signals import Order, Signal, refuse_withdrawn, to_millivolts
from integration.hl7v2.units import (
    decimal,
    hz_per,
    is_voltage,
    mv_per,
    number_text,
    s_per,
)

# Code 0 stands in the field for "see the name", so names go first.
_ATTRIBUTES = {
    "MDC_ATTR_SAMP_RATE": "rate",
    "MDC_ATTR_TIME_PD_SAMP": "period",
    "67981": "period",
    "MDC_ATTR_NU_MSMT_RES": "resolution",
    "2327": "resolution",
    "67917": "resolution",
    "MDC_ATTR_DATA_RANGE": "range",
    "MDC_EVT_INOP": "inop",  # the number that stands for "no value"
}
_MAX_ARRAYS, _MAX_ATTRIBUTES = 64, 1024  # a monitor has about twenty waveforms
_Path = tuple[str, ...]
_Attribute = tuple[str, _Path, Segment]
_WAVEFORM_ORDER = re.compile(r"69121|MDC_OBS_WAVE\w*|(?:CONTINUOUS )?WAVEFORM", re.IGNORECASE)


@dataclass(frozen=True)
class _Lead:
    """An NA that is an ECG lead, with the attributes that are linked to it."""

    name: str
    obx: Segment
    attributes: dict[str, list[Segment]] = field(default_factory=dict)


def wcm_signals(message: Message, order: Order) -> list[Signal]:
    """Return the leads in an order's NA segments that carry attributes.

    Raises:
        Refused: with the reason and the place.
    """
    arrays = [obx for obx in order.observations if _is_array(message, obx)]
    if not arrays:
        return []
    attributes = [
        (kind, _path(message, obx), obx)
        for obx in order.observations
        if (kind := _attribute_kind(message, obx))
    ]
    if len(arrays) > _MAX_ARRAYS or len(attributes) > _MAX_ATTRIBUTES:
        raise Refused("waveform-unsupported", "too many arrays in one order", arrays[0].at(5))
    paths = [_path(message, obx) for obx in arrays]
    signals = []
    for index, obx in enumerate(arrays):
        linked = _linked(attributes, paths, index)
        name = lead_of(message.in_our_words(message.components(obx.field(3))), obx.at(3))
        if name is None and (linked or _is_waveform_order(message, order)):
            stranger = Refused(
                "lead-unknown", "a waveform that is no lead of the twelve", obx.at(3)
            )
            order.passed_over.append(stranger)
        if name not in (None, OTHER):
            signals.append(_signal(message, order, _Lead(str(name), obx, linked)))
    if _is_waveform_order(message, order):
        check_period(message, order, signals)
    return signals


def scalar_named_like_lead(message: Message, order: Order) -> Segment | None:
    """Return a single number under a lead's name: a mistake seen in the field, no waveform."""
    for obx in order.observations:
        if message.text(obx.field(2)) in ("NM", "SN", "ST") and scalar_lead(
            message.components(obx.field(3))
        ):
            return obx
    return None


def _signal(message: Message, order: Order, lead: _Lead) -> Signal:
    obx, place = lead.obx, lead.obx.at(5)
    refuse_withdrawn(message, obx)
    value = obx.field(5).strip()
    if message.delimiters.repetition in value:
        raise Refused("waveform-unsupported", "several rows under one lead", place)
    rate_hz = _rate_hz(message, lead)
    samples = parse_samples(value, message.delimiters.component, place)
    samples = _without_declared_sentinel(message, lead, samples)
    mv_per_step, counts = _scale(message, lead, samples)
    declared = _declared(message, lead, mv_per_step)
    start, start_at = (obx.field(14), obx.at(14)) if obx.field(14) else order.start()
    return Signal(
        lead=lead.name,
        mv=to_millivolts(samples, mv_per_step, 0.0, declared, place),
        resolution_mv=mv_per_step if counts else None,
        rate_hz=rate_hz,
        start=start,
        start_at=start_at,
        location=place,
    )


def _without_declared_sentinel(message: Message, lead: _Lead, samples: Samples) -> Samples:
    """Take out the number that the sender declares to mean "no value", if devices use it so."""
    said = {_number(message, obx, "field-malformed") for obx in lead.attributes.get("inop", [])}
    missing = np.isin(samples.values, [value for value in said if value in SENTINELS])
    if not missing.any():
        return samples
    return Samples(np.where(missing, np.nan, samples.values), samples.decimal_point)


def _number(message: Message, obx: Segment, reason: str) -> float:
    return decimal(number_text(message.components(obx.field(5))), reason, obx.at(5))


def _rate_hz(message: Message, lead: _Lead) -> float:
    rates = []
    for obx in lead.attributes.get("rate", []):
        value = _number(message, obx, "field-malformed")
        # The attribute is per second by definition; a unit that says otherwise is not overruled.
        unit = message.components(obx.field(6)) if obx.field(6) else ["Hz"]
        rates.append(value * hz_per(unit, obx.at(6)))
    for obx in lead.attributes.get("period", []):
        value = _number(message, obx, "field-malformed")
        period_s = value * s_per(message.components(obx.field(6)), obx.at(6))
        if period_s <= 0:
            raise Refused("rate-out-of-range", "a period must be above 0", obx.at(5))
        rates.append(1 / period_s)
    if not rates:
        raise Refused("rate-missing", "neither rate nor period is given", lead.obx.at(3))
    if max(rates) - min(rates) > 1e-3 * abs(max(rates)):
        raise Refused("rate-conflict", "two rates for one lead", lead.obx.at(3))
    return rates[0]


def _scale(message: Message, lead: _Lead, samples: Samples) -> tuple[float, bool]:
    """Return (millivolts a step, whether the samples are counts).

    Without a resolution, samples written with a decimal point are in the unit of OBX-6 already,
    and whole numbers are refused: nobody knows what a count is worth. With one, whole numbers are
    counts; fractions may be either, and are refused unless both readings are the same.
    """
    own_unit = message.components(lead.obx.field(6))
    resolutions = lead.attributes.get("resolution", [])
    if not resolutions:
        if not samples.decimal_point and samples.values.any():
            raise Refused("resolution-missing", "counts without a resolution", lead.obx.at(5))
        return mv_per(own_unit, lead.obx.at(6)), False
    steps = {_step_mv(message, obx, own_unit, lead.obx) for obx in resolutions}
    if len(steps) > 1:
        raise Refused("resolution-conflict", "two resolutions for one lead", lead.obx.at(3))
    step = steps.pop()
    if not samples.integral:
        if not is_voltage(own_unit) or step != mv_per(own_unit, lead.obx.at(6)):
            raise Refused(
                "resolution-conflict", "fractions and a resolution other than 1", lead.obx.at(5)
            )
        return step, False
    return step, True


def _step_mv(message: Message, obx: Segment, own_unit: list[str], parent: Segment) -> float:
    value = _number(message, obx, "resolution-malformed")
    unit = message.components(obx.field(6))
    if is_voltage(unit) or not is_voltage(own_unit):
        return value * mv_per(unit if obx.field(6) else own_unit, obx.at(6))
    if unit[0] in ("", "262656") or part(unit, 2) == "MDC_DIM_DIMLESS":
        return value * mv_per(own_unit, parent.at(6))
    raise Refused("unit-unknown", "the resolution's unit is no voltage", obx.at(6))


def _declared(message: Message, lead: _Lead, mv_per_step: float) -> tuple[float, float] | None:
    """Return the declared range in samples; a range with a unit of voltage is one of values."""
    for obx in lead.attributes.get("range", []):
        bounds = message.components(obx.field(5))
        if not part(bounds, 1) or not part(bounds, 2):
            continue
        low, high = (decimal(bound, "field-malformed", obx.at(5)) for bound in bounds[:2])
        if low > high:
            raise Refused("field-malformed", "the range is upside down", obx.at(5))
        unit = message.components(obx.field(6))
        if is_voltage(unit):
            factor = mv_per(unit, obx.at(6)) / (mv_per_step or 1.0)
            return low * factor, high * factor
        return low, high
    return None


def _attribute_kind(message: Message, obx: Segment) -> str | None:
    code, name = [*message.components(obx.field(3)), ""][:2]
    return _ATTRIBUTES.get(name.upper()) or _ATTRIBUTES.get(code.upper())


def _is_array(message: Message, obx: Segment) -> bool:
    return obx.field(2).strip() == b"NA" and not suffix_of(message, obx)


def _is_waveform_order(message: Message, order: Order) -> bool:
    identifier = message.components(order.obr.field(4)) if order.obr else []
    return any(_WAVEFORM_ORDER.fullmatch(text) for text in identifier[:2])


def _path(message: Message, obx: Segment) -> _Path:
    text = message.text(obx.field(4))
    return tuple(text.split(".")) if text else ()


def _linked(
    attributes: list[_Attribute], arrays: list[_Path], index: int
) -> dict[str, list[Segment]]:
    """Return one array's attributes by kind; what stands nearer overrules what stands above."""
    found: dict[str, tuple[int, list[Segment]]] = {}
    for kind, path, obx in attributes:
        distance = _distance(path, arrays, index)
        if distance is None:
            continue
        nearest, segments = found.get(kind, (distance, []))
        if distance < nearest:
            segments = []
        if distance <= nearest:
            found[kind] = (distance, [*segments, obx])
    return {kind: segments for kind, (_, segments) in found.items()}


def _distance(attribute: _Path, arrays: list[_Path], index: int) -> int | None:
    """Return how far above the array the attribute stands: 0 its child, or None: not its own."""
    array = arrays[index]
    if not attribute or not array:
        return None
    if attribute[: len(array)] == array:
        nearer = any(len(a) > len(array) and attribute[: len(a)] == a for a in arrays)
        return None if nearer else 0
    if len(attribute) == len(array) == 5 and attribute[:4] == array[:4]:
        return 0 if sum(a[:4] == array[:4] for a in arrays) == 1 else None
    above = attribute
    while above and above[-1] == "0":
        above = above[:-1]
    if above and len(above) < len(array) and array[: len(above)] == above:
        return len(array) - len(above)
    return None
