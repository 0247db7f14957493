"""Samples from a field's bytes to arrays, without an object a sample on the way."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from integration.errors import Refused
from integration.hl7v2.units import Location
from model.ecg import MAX_AMPLITUDE_MV, MAX_SAMPLES

_INTEGERS = b"0123456789-^"
_DECIMALS = b"0123456789-+.eE^"
_MAX_COUNT = 2**31  # no converter's word is longer
# What devices write for "no value" (ISO/IEEE 11073 samples, monitors in the field).
SENTINELS = (32767.0, -32768.0, -999.0, -99.9, -1.0)


@dataclass(frozen=True)
class Samples:
    """One lead's numbers as sent.

    Attributes:
        values: `(n,)` float64; NaN where the sender left a value out.
        decimal_point: whether any was written with a fraction or exponent.
    """

    values: NDArray[np.float64] = field(repr=False)
    decimal_point: bool

    @property
    def integral(self) -> bool:
        """Whether all are whole numbers."""
        if not self.decimal_point:
            return True
        fractions = self.values % 1
        return not np.any(fractions[~np.isnan(fractions)])


def parse_samples(value: bytes, separator: bytes, location: Location) -> Samples:
    """Read one repetition of NA.

    A value left out inside (`1^^3`) is NaN (HL7 v2.9.1, 2A.2.45); one empty value at the very end
    is a terminator that some senders write, not a sample.

    Raises:
        Refused: `samples-malformed`, `samples-missing`.
    """
    return _read(value.strip().removesuffix(separator), separator, MAX_SAMPLES, location)


def parse_multiplexed(
    value: bytes, component: bytes, repetition: bytes, n_channels: int, location: Location
) -> list[Samples]:
    """Read MA, which goes time by time, into one `Samples` a channel.

    Raises:
        Refused: `samples-malformed`, `samples-missing`, `leads-malformed`.
    """
    text = value.strip().removesuffix(repetition)
    marks = np.frombuffer(text, np.uint8)
    separators = marks[(marks == component[0]) | (marks == repetition[0])]
    times = np.append(separators, repetition[0])  # as if the last time were ended too
    if len(times) % n_channels or not _regular(
        times.reshape(-1, n_channels), component[0], repetition[0]
    ):
        raise Refused("leads-malformed", "as many channels at every time are needed", location)
    limit = MAX_SAMPLES * n_channels
    flat = _read(text.replace(repetition, component), component, limit, location)
    return [Samples(row, flat.decimal_point) for row in flat.values.reshape(-1, n_channels).T]


def without_sentinels(
    samples: NDArray[np.float64],
    mv: NDArray[np.float64],
    declared: tuple[float, float] | None,
    location: Location,
) -> NDArray[np.float64]:
    """Return `mv` with NaN where a sample says "no value"; no real sample is hidden.

    A sample is taken for "no value" when it is one of `SENTINELS` and lies outside the declared
    range, or, in millivolts, beyond what any ECG reaches. -1 or -999 counts inside a plausible
    range are samples.

    Args:
        samples: `(n,)` as sent.
        mv: `(n,)` the same in millivolts.
        declared: lowest and highest of `samples` that the sender declares, or None.
        location: of the field, for a refusal.

    Raises:
        Refused: `samples-out-of-range`, `amplitude-implausible`: outside, and no sentinel.
    """
    outside = np.zeros(len(samples), dtype=bool)
    if declared is not None:
        slack = 1e-6 * max(1.0, *map(abs, declared))
        outside = (samples < declared[0] - slack) | (samples > declared[1] + slack)
    odd = outside | (np.abs(mv) > MAX_AMPLITUDE_MV)
    if not odd.any():
        return mv
    missing = odd & np.isin(samples, SENTINELS)
    if (outside & ~missing).any():
        raise Refused("samples-out-of-range", "outside the range that is declared", location)
    if (odd & ~missing).any():
        raise Refused("amplitude-implausible", f"beyond {MAX_AMPLITUDE_MV:g} mV", location)
    return np.where(missing, np.nan, mv)


def has_pair(text: bytes, pair: bytes) -> bool:
    """Tell whether two bytes follow each other; four times as quick as `in` where both abound."""
    marks = np.frombuffer(text, np.uint8)
    return bool(((marks[:-1] == pair[0]) & (marks[1:] == pair[1])).any())


def _regular(times: NDArray[np.uint8], component: int, repetition: int) -> bool:
    return bool((times[:, :-1] == component).all() and (times[:, -1] == repetition).all())


def _read(text: bytes, separator: bytes, limit: int, location: Location) -> Samples:
    if separator != b"^":
        text = text.translate(bytes.maketrans(separator + b"^", b"^" + separator))
    if len(text) > limit and text.count(b"^") >= limit:
        raise Refused("samples-out-of-range", "too many samples", location)
    if not text.strip(b"^"):
        raise Refused("samples-missing", "no samples", location)
    if not text.translate(None, _INTEGERS):
        counts = _integers(text)
        if counts is not None:
            return Samples(_bounded(counts, location).astype(np.float64), decimal_point=False)
    elif text.translate(None, _DECIMALS):
        raise Refused("samples-malformed", "text among the samples", location)
    values = _bounded(_decimals(text, location), location)
    return Samples(values, decimal_point=bool(text.translate(None, _INTEGERS + b"+")))


def _integers(text: bytes) -> NDArray[np.int64] | None:
    """Read whole numbers; None where it takes `_decimals` to say what else stands there."""
    if has_pair(text, b"-^") or text[-1] in b"-^":  # np.fromstring takes a lone sign for 0
        return None
    try:
        return np.fromstring(text, dtype=np.int64, sep="^")
    except ValueError:
        return None


def _decimals(text: bytes, location: Location) -> NDArray[np.float64]:
    count = text.count(b"^") + 1
    if b"^^" in text or text.startswith(b"^") or text.endswith(b"^"):
        text = text.replace(b"^^", b"^nan^").replace(b"^^", b"^nan^")
        text = b"nan" * text.startswith(b"^") + text + b"nan" * text.endswith(b"^")
    try:
        values = np.fromstring(text, dtype=np.float64, sep="^")
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise Refused("samples-malformed", "a sample is not a number", location)
    return values


def _bounded(values: NDArray[Any], location: Location) -> NDArray[Any]:
    lowest, highest = np.fmin.reduce(values), np.fmax.reduce(values)
    if lowest < -_MAX_COUNT or highest > _MAX_COUNT:
        raise Refused("samples-malformed", "a sample is beyond 32 bits", location)
    return values
