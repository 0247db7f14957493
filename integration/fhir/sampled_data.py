"""SampledData of R4, R4B and R5 to millivolts.

A value is data * factor + origin, in the unit of origin (R4 and R5, datatypes.html#SampledData).
R4 has `period` in milliseconds; R5 has `interval` with `intervalUnit`, or else `offsets`. "E"
(error) is no value; "L" and "U" lie beyond a limit of detection.

The specification's own EKG example follows another rule: its origin, 2048, is the zero of a
converter's counts and has no unit. Such data is read as (data - origin) * factor, but only where
its counts, its origin and its full scale leave no other reading: see `_legacy`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from integration.errors import Refused
from integration.fhir.codes import UCUM
from integration.fhir.element import Element, blamed_on
from integration.hl7v2.samples import Samples, has_pair, parse_samples, without_sentinels
from integration.hl7v2.units import mv_per
from model.ecg import MAX_AMPLITUDE_MV, MAX_SAMPLES

_NOWHERE = ("", 1, 0)
_MV_PER_UCUM = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6}
_S_PER_UCUM = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_MAX_FACTOR = 1e12  # keeps the arithmetic finite; `Ecg` is stricter
_SPECIAL = (b"E", b"U", b"L")
_UNTIDY = (b"\t", b"\r", b"\n")
_CONVERTER_BITS = range(8, 25)
_FULL_SCALE_MV = (1.0, MAX_AMPLITUDE_MV)  # what an ECG amplifier's converter spans on either side
_MIN_FILLED = 0.5  # of the grid that offsets lie on


@dataclass(frozen=True)
class Sampled:
    """One lead's recording.

    Attributes:
        mv: `(n_samples,)` float64 millivolts; NaN where there is no value.
        resolution_mv: millivolts a step, or None where no whole numbers of steps were sent.
        rate_hz: samples a second.
    """

    mv: NDArray[np.float64] = field(repr=False)
    resolution_mv: float | None
    rate_hz: float


@dataclass(frozen=True)
class _Scale:
    """Millivolts are `(values - zero) * step_mv`."""

    step_mv: float
    zero: float
    mv_per_unit: float

    def mv(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (values - self.zero) * self.step_mv


def read_sampled_data(data: Element) -> Sampled:
    """Read one lead.

    Raises:
        Refused: `field-missing`, `field-malformed`, `rate-missing`, `rate-conflict`,
            `rate-out-of-range`, `unit-unknown`, `resolution-out-of-range`, `samples-missing`,
            `samples-malformed`, `samples-out-of-range`, `amplitude-implausible`, `lengths-differ`,
            `waveform-unsupported`; with the place.
    """
    _check_one_dimension(data)
    rate_hz, positions = _timing(data)
    samples, letters = _samples(data)
    scale = _scale(data, samples)
    with blamed_on(data.at("data")):
        mv = without_sentinels(samples.values, scale.mv(samples.values), None, _NOWHERE)
    mv = _limited(data, scale, mv, letters)
    step_mv = abs(scale.step_mv)
    resolution_mv = step_mv if samples.integral and step_mv < 1 else None
    return Sampled(_placed(data, mv, positions), resolution_mv, rate_hz)


def is_voltage(data: Element) -> bool:
    """Tell whether the unit is one of voltage, or there is none that would say otherwise."""
    origin = data.child("origin")
    if origin is None or not (origin.text("code") or origin.text("unit")):
        return True
    try:
        _mv_per_unit(origin)
    except Refused:
        return False
    return True


def _check_one_dimension(data: Element) -> None:
    dimensions = data.number("dimensions")
    if dimensions is None:
        raise data.refusal("field-missing", "dimensions is required", "dimensions")
    if dimensions != 1:
        detail = "several leads in one series; which is which is not told"
        raise data.refusal("waveform-unsupported", detail, "dimensions")
    if "codeMap" in data:
        raise data.refusal("waveform-unsupported", "codes instead of numbers", "codeMap")


def _timing(data: Element) -> tuple[float, NDArray[np.int64] | None]:
    """Return the rate, and the positions of the samples where `offsets` tells them.

    Positions are in units of the grid, from 0.
    """
    period, interval = data.number("period"), data.number("interval")
    steps_s = [] if period is None else [period * 1e-3]
    if "offsets" in data:
        if period is not None or interval is not None:
            detail = "offsets and an interval exclude each other (sdd-1)"
            raise data.refusal("rate-conflict", detail, "offsets")
        grid, positions = _grid(data)
        steps_s = [grid * _s_per_interval_unit(data)]
        return _rate(data, steps_s, "offsets"), positions
    if interval is not None:
        steps_s.append(interval * _s_per_interval_unit(data))
    return _rate(data, steps_s, "period" if interval is None else "interval"), None


def _rate(data: Element, steps_s: list[float], name: str) -> float:
    if not steps_s:
        raise data.refusal("rate-missing", "neither period nor interval", name)
    if not math.isclose(steps_s[0], steps_s[-1], rel_tol=1e-6):
        raise data.refusal("rate-conflict", "period and interval disagree", name)
    if not 1e-9 < steps_s[0] < 1e9:
        raise data.refusal("rate-out-of-range", "no time between samples", name)
    return round(1 / steps_s[0], 6)


def _s_per_interval_unit(data: Element) -> float:
    unit = data.text("intervalUnit")
    if unit not in _S_PER_UCUM:
        raise data.refusal("unit-unknown", "no UCUM unit of time that is certain", "intervalUnit")
    return _S_PER_UCUM[unit]


def _grid(data: Element) -> tuple[int, NDArray[np.int64]]:
    """Return the step of the grid that offsets lie on, in interval units, and where they lie.

    Offsets that only jitter, as rounded times do, are on no grid that the samples fill.
    """
    with blamed_on(data.at("offsets")):
        parsed = parse_samples(_tidy(data, "offsets"), b" ", _NOWHERE)
    if not parsed.integral or np.isnan(parsed.values).any():
        raise data.refusal("samples-malformed", "offsets are whole numbers", "offsets")
    offsets = parsed.values.astype(np.int64)
    differences = np.diff(offsets)
    if len(offsets) < 2 or offsets[0] != 0 or (differences <= 0).any():
        raise data.refusal("waveform-unsupported", "offsets rise from 0", "offsets")
    grid = int(np.gcd.reduce(differences))
    positions = offsets // grid
    if positions[-1] >= MAX_SAMPLES or len(offsets) < _MIN_FILLED * (positions[-1] + 1):
        raise data.refusal("waveform-unsupported", "not evenly sampled", "offsets")
    return grid, positions


def _placed(
    data: Element, mv: NDArray[np.float64], positions: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    if positions is None:
        return mv
    if len(positions) != len(mv):
        raise data.refusal("lengths-differ", "one offset a sample", "offsets")
    placed = np.full(int(positions[-1]) + 1, np.nan)
    placed[positions] = mv
    return placed


def _samples(data: Element) -> tuple[Samples, dict[int, bytes]]:
    """Return the numbers, NaN for E, U and L, and where each of those letters stood."""
    text, letters = _tidy(data, "data"), {}
    if any(map(text.__contains__, _SPECIAL)):
        words = text.split(b" ")
        letters = {n: word for n, word in enumerate(words) if word in _SPECIAL}
        if len(letters) == len(words):
            raise data.refusal("samples-missing", "no number among the samples", "data")
        text = b" ".join(b"0" if n in letters else word for n, word in enumerate(words))
    with blamed_on(data.at("data")):
        samples = parse_samples(text, b" ", _NOWHERE)
    samples.values[list(letters)] = np.nan
    return samples, letters


def _tidy(data: Element, name: str) -> bytes:
    """Return a series of numbers with one blank between two of them."""
    text = data.text(name).encode(errors="replace")
    if not text:
        raise data.refusal("samples-missing", f"{name} is empty", name)
    untidy = any(map(text.__contains__, _UNTIDY)) or has_pair(text, b"  ")
    return b" ".join(text.split()) if untidy else text


def _scale(data: Element, samples: Samples) -> _Scale:
    origin = data.child("origin")
    if origin is None:
        raise data.refusal("field-missing", "origin is required: it has the unit", "origin")
    value, factor = origin.number("value"), data.number("factor")
    if value is None:
        raise origin.refusal("field-missing", "the origin has no value", "value")
    step = 1.0 if factor is None else factor
    if not (0 < abs(step) < _MAX_FACTOR and abs(value) < _MAX_FACTOR):
        raise data.refusal("resolution-out-of-range", "an absurd factor or origin", "factor")
    if not (origin.text("code") or origin.text("unit")):
        if factor is None or not value:
            raise origin.refusal("unit-unknown", "the origin has no unit")
        return _legacy(data, value, factor, samples)
    unit_mv = _mv_per_unit(origin)
    return _Scale(step * unit_mv, -value / step, unit_mv)


def _mv_per_unit(origin: Element) -> float:
    """Return millivolts per unit; a code of UCUM counts, and its text must not contradict it."""
    code, unit, system = (origin.text(name) for name in ("code", "unit", "system"))
    if system == UCUM and code:
        if code not in _MV_PER_UCUM:
            raise origin.refusal("unit-unknown", "no UCUM unit of voltage", "code")
        by_text = _MV_PER_UCUM.get(unit)
        if by_text not in (None, _MV_PER_UCUM[code]):
            raise origin.refusal("unit-unknown", "code and text of the unit disagree", "unit")
        return _MV_PER_UCUM[code]
    with blamed_on(origin.path):
        return mv_per([code, unit], _NOWHERE)


def _legacy(data: Element, origin: float, factor: float, samples: Samples) -> _Scale:
    """Return the scale of counts of a converter with its zero at half its range.

    The unit is told by the full scale: units lie a thousand apart, amplifiers' spans do not, so at
    most one of them fits.

    Raises:
        Refused: `unit-unknown` where another reading is possible.
    """
    bits = math.log2(origin) + 1 if origin >= 1 else 0.0
    inside = np.nanmin(samples.values) >= 0 and np.nanmax(samples.values) < 2 * origin
    spans_mv = {mv: origin * abs(factor) * mv for mv in _MV_PER_UCUM.values()}
    lowest_mv, highest_mv = _FULL_SCALE_MV
    fitting = [mv for mv, span in spans_mv.items() if lowest_mv <= span <= highest_mv]
    if bits not in _CONVERTER_BITS or not (samples.integral and inside and len(fitting) == 1):
        detail = "an origin without a unit, and no counts whose meaning is certain"
        raise data.refusal("unit-unknown", detail, "origin")
    return _Scale(factor * fitting[0], origin, fitting[0])


def _limited(
    data: Element, scale: _Scale, mv: NDArray[np.float64], letters: dict[int, bytes]
) -> NDArray[np.float64]:
    """Return `mv` with L and U at their limits where these are told, else NaN.

    Limits are of the measured points; some senders write them in the numbers of `data` instead.

    Raises:
        Refused: `samples-out-of-range`: a number beyond the limits, however they are meant.
    """
    lower, upper = data.number("lowerLimit"), data.number("upperLimit")
    if lower is None and upper is None:
        return mv
    low_high = np.array([-np.inf if lower is None else lower, np.inf if upper is None else upper])
    as_sent = np.sort(scale.mv(low_high)) if scale.step_mv > 0 else scale.mv(low_high)
    meanings = [low_high * scale.mv_per_unit, as_sent]
    slack = abs(scale.step_mv)
    known = mv[~np.isnan(mv)]
    for low_mv, high_mv in meanings:
        if not len(known) or (known.min() >= low_mv - slack and known.max() <= high_mv + slack):
            return _clipped(mv, letters, (float(low_mv), float(high_mv)))
    raise data.refusal("samples-out-of-range", "a number beyond the limits of detection", "data")


def _clipped(
    mv: NDArray[np.float64], letters: dict[int, bytes], limits_mv: tuple[float, float]
) -> NDArray[np.float64]:
    limits = {b"L": limits_mv[0], b"U": limits_mv[1]}
    clipped = mv.copy()
    for position, letter in letters.items():
        limit_mv = limits.get(letter, math.nan)
        clipped[position] = limit_mv if abs(limit_mv) <= MAX_AMPLITUDE_MV else math.nan
    return clipped
