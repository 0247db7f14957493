"""Samples from a field's bytes to arrays, without an object a sample on the way."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from integration.errors import Refused
from integration.hl7v2.units import Location

_INTEGERS = b"0123456789-^"
_DECIMALS = b"0123456789-+.eE^"
_MAX_COUNT = 2**31  # no converter's word is longer
# What devices write for "no value" (ISO/IEEE 11073 samples, monitors in the field).
SENTINELS = (32767.0, -32768.0, -999.0, -99.9, -1.0)
PLAUSIBLE_MV = 20.0


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
        return not self.decimal_point or bool(np.all(_known(self.values) % 1 == 0))


def parse_samples(value: bytes, separator: bytes, location: Location) -> Samples:
    """Read one repetition of NA.

    A value left out inside (`1^^3`) is NaN (HL7 v2.9.1, 2A.2.45); one empty value at the very end
    is a terminator that some senders write, not a sample.

    Raises:
        Refused: `samples-malformed`, `samples-missing`.
    """
    return _read(value.strip().removesuffix(separator), separator, location)


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
    ends_of_times = np.arange(1, len(separators) + 1) % n_channels == 0
    if (len(separators) + 1) % n_channels or np.any((separators == repetition[0]) != ends_of_times):
        raise Refused("leads-malformed", "as many channels at every time are needed", location)
    flat = _read(text.replace(repetition, component), component, location)
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
        Refused: `samples-out-of-range`: outside the declared range and no sentinel.
    """
    outside = np.zeros(len(samples), dtype=bool)
    if declared is not None:
        slack = 1e-6 * max(1.0, *map(abs, declared))
        outside = (samples < declared[0] - slack) | (samples > declared[1] + slack)
    odd = outside | (np.abs(mv) > PLAUSIBLE_MV)
    if not odd.any():
        return mv
    missing = odd & np.isin(samples, SENTINELS)
    if (outside & ~missing).any():
        raise Refused("samples-out-of-range", "outside the range that is declared", location)
    return np.where(missing, np.nan, mv)


def _read(text: bytes, separator: bytes, location: Location) -> Samples:
    if separator != b"^":
        text = text.translate(bytes.maketrans(separator + b"^", b"^" + separator))
    if not text.strip(b"^"):
        raise Refused("samples-missing", "no samples", location)
    if text.translate(None, _DECIMALS):
        raise Refused("samples-malformed", "text among the samples", location)
    array = _numbers(text, location)
    if len(array) != text.count(b"^") + 1 or np.abs(_known(array)).max(initial=0) > _MAX_COUNT:
        raise Refused("samples-malformed", "a sample is not a number of 32 bits", location)
    return Samples(array.astype(np.float64, copy=False), bool(text.translate(None, _INTEGERS)))


def _numbers(text: bytes, location: Location) -> NDArray[Any]:
    if not text.translate(None, _INTEGERS) and not _has_gaps(text):
        # np.fromstring takes a lone sign for 0
        if b"-^" in text or text.endswith(b"-"):
            raise Refused("samples-malformed", "a sign without a number", location)
        return _from_text(text, np.dtype(np.int64), location)
    if _has_gaps(text):
        text = text.replace(b"^^", b"^nan^").replace(b"^^", b"^nan^")
        text = b"nan" * text.startswith(b"^") + text + b"nan" * text.endswith(b"^")
    return _from_text(text, np.dtype(np.float64), location)


def _from_text(text: bytes, dtype: np.dtype[Any], location: Location) -> NDArray[Any]:
    try:
        return np.fromstring(text, dtype=dtype, sep="^")
    except (ValueError, DeprecationWarning):
        raise Refused("samples-malformed", "a sample is not a number", location) from None


def _has_gaps(text: bytes) -> bool:
    return b"^^" in text or text.startswith(b"^") or text.endswith(b"^")


def _known(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype.kind == "i" else array[~np.isnan(array)]
