"""Numbers and units as senders write them; only what is certain is taken.

MDC units (ISO/IEEE 11073-10101, A.3): 266400 is the volt; +18, +19 and +20 are milli, micro, nano;
264320 is the second, with the same prefixes.
"""

import math
import re

from integration.errors import Refused

_MV_PER_UNIT = {
    **dict.fromkeys(("mV", "mv", "millivolt", "millivolts"), 1.0),
    **dict.fromkeys(("MDC_DIM_MILLI_VOLT", "266418"), 1.0),
    **dict.fromkeys(("uV", "uv", "\u00b5V", "\u03bcV", "microvolt", "microvolts"), 1e-3),
    **dict.fromkeys(("MDC_DIM_MICRO_VOLT", "266419"), 1e-3),
    **dict.fromkeys(("nV", "nv", "nanovolt", "nanovolts", "MDC_DIM_NANO_VOLT", "266420"), 1e-6),
    **dict.fromkeys(("V", "v", "volt", "volts", "MDC_DIM_VOLT", "266400"), 1e3),
}
_HZ_PER_UNIT = {
    **dict.fromkeys(("Hz", "hz", "HZ", "/s", "1/s", "s-1", "per second"), 1.0),
    **dict.fromkeys(("MDC_DIM_HZ", "264640", "MDC_DIM_PER_SEC", "264608"), 1.0),
}
_S_PER_UNIT = {
    **dict.fromkeys(("s", "MDC_DIM_SEC", "264320"), 1.0),
    **dict.fromkeys(("ms", "MDC_DIM_MILLI_SEC", "264338"), 1e-3),
    **dict.fromkeys(("us", "MDC_DIM_MICRO_SEC", "264339"), 1e-6),
}
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)

# What a step is called where a sensitivity is written as voltage per step.
_PER_STEP = re.compile(r"\s*(?:/|per)\s*(?:lsb|bit|count|step|unit|digit|adu?)\Z", re.IGNORECASE)

_MAX_DIGITS = 64

Location = tuple[str, int, int]


def number_text(components: list[str]) -> str:
    """Return the number of NM, or of SN where that says no more than a number (`^500`, `=^500`)."""
    first, *rest = components
    return rest[0] if rest and first in ("", "=") else first


def decimal(text: str, reason: str, location: Location) -> float:
    """Return a number (NM).

    Raises:
        Refused: with `reason`, when it is none.
    """
    value = float(text) if len(text) <= _MAX_DIGITS and _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise Refused(reason, "not a number", location)
    return value


def mv_per(unit: list[str], location: Location) -> float:
    """Return millivolts per unit (CE: code, text, system)."""
    return _factor(unit, _MV_PER_UNIT, location)


def mv_per_step(unit: list[str], location: Location) -> float:
    """Return millivolts per unit of a sensitivity: `uV` and `uV/LSB` mean the same there."""
    return mv_per([_PER_STEP.sub("", text) for text in unit], location)


def hz_per(unit: list[str], location: Location) -> float:
    """Return hertz per unit."""
    return _factor(unit, _HZ_PER_UNIT, location)


def s_per(unit: list[str], location: Location) -> float:
    """Return seconds per unit."""
    return _factor(unit, _S_PER_UNIT, location)


def is_voltage(unit: list[str]) -> bool:
    """Tell whether a unit is one of voltage; then `mv_per` knows it."""
    said = [text for text in unit[:2] if text]
    return bool(said) and all(text in _MV_PER_UNIT for text in said)


def _factor(unit: list[str], table: dict[str, float], location: Location) -> float:
    said = [text for text in unit[:2] if text]
    factors = {table.get(text) for text in said}
    factor = factors.pop() if len(factors) == 1 else None
    if factor is None:
        name = said[0][:20] if said else "none"
        raise Refused("unit-unknown", f"unit {name!r} is not one that is certain", location)
    return factor
