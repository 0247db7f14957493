"""An ECG's samples on their way to disk and back.

Integers and resolution are kept as the sender had them, so nothing is lost and little is stored:
differences along time, zlib level 1. Measured against zlib alone: 14 % smaller on PTB-XL at
100 Hz, 19 % on a 1000 Hz recording, for 0.1 ms more an ECG. Byte shuffling did not help.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from db.compress import expand, shrink
from db.errors import Corrupt
from model.ecg import MAX_LEADS, MAX_SAMPLES, Ecg, Millivolts
from model.errors import EcgError

_TYPES: dict[str, np.dtype[Any]] = {
    "i2": np.dtype("<i2"),
    "i4": np.dtype("<i4"),
    "f4": np.dtype("<f4"),
}
# Samples are steps * resolution in float32: its rounding, once for each factor and the product.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Packed:
    """An Ecg as plain column values.

    Attributes:
        leads: names in the order of the rows.
        n_samples: per lead.
        sampling_rate_hz: as in Ecg.
        start: as in Ecg.
        resolution_mv: as in Ecg.
        encoding: `i2`, `i4` (steps, differences along time, the lowest value for none) or `f4`
            (millivolts), little-endian, lead after lead.
        samples: compressed.
    """

    leads: tuple[str, ...]
    n_samples: int
    sampling_rate_hz: float
    start: datetime | None
    resolution_mv: tuple[float, ...] | None
    encoding: str
    samples: bytes = field(repr=False)


def pack(ecg: Ecg) -> Packed:
    """Return the ECG for storage; lossless but for the last digit of a float32."""
    steps = None if ecg.resolution_mv is None else _steps(ecg.voltage_mv, ecg.resolution_mv)
    if steps is None:
        encoding, values = "f4", ecg.voltage_mv
    else:
        encoding, values = _as_differences(steps)
    data = np.ascontiguousarray(values, dtype=_TYPES[encoding]).tobytes()
    return Packed(
        leads=ecg.leads,
        n_samples=ecg.n_samples,
        sampling_rate_hz=ecg.sampling_rate_hz,
        start=ecg.start,
        resolution_mv=ecg.resolution_mv,
        encoding=encoding,
        samples=shrink(data),
    )


def unpack(packed: Packed) -> Ecg:
    """Inverse of pack.

    Raises:
        Corrupt: `stored-bytes-corrupt` or `waveform-corrupt`.
    """
    try:
        dtype = _TYPES[packed.encoding]
        shape = _shape(packed)
        size = shape[0] * shape[1] * dtype.itemsize
        data = expand(packed.samples, size)
        values = np.frombuffer(data, dtype).reshape(shape)
        return Ecg(
            voltage_mv=_millivolts(values, packed.resolution_mv),
            leads=packed.leads,
            sampling_rate_hz=packed.sampling_rate_hz,
            start=packed.start,
            resolution_mv=packed.resolution_mv,
        )
    except (EcgError, KeyError, ValueError) as error:
        raise Corrupt("waveform-corrupt", "the stored samples make no ECG") from error


def _steps(voltage_mv: Millivolts, resolution_mv: tuple[float, ...]) -> NDArray[Any] | None:
    """Return whole steps as float64 with NaN for none, or None when they do not give the voltages.

    They do not where a lead was computed from others, or filtered, before it came here.
    """
    resolution = np.array(resolution_mv)[:, None]
    steps = np.rint(voltage_mv / resolution)
    error = np.abs(steps * resolution - voltage_mv)
    faithful = (error <= _ROUNDING * np.abs(voltage_mv)) | np.isnan(voltage_mv)
    fits = np.nanmax(np.abs(steps), initial=0.0) <= np.iinfo(np.int32).max
    return steps if fits and faithful.all() else None


def _as_differences(steps: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    small = np.nanmax(np.abs(steps), initial=0.0) <= np.iinfo(np.int16).max
    encoding = "i2" if small else "i4"
    dtype = _TYPES[encoding]
    missing = np.isnan(steps)
    values = np.where(missing, np.iinfo(dtype).min, steps).astype(dtype)
    # Overflow wraps here and wraps back in the running sum.
    differences: NDArray[Any] = np.diff(values, axis=1, prepend=dtype.type(0))
    return encoding, differences


def _millivolts(values: NDArray[Any], resolution_mv: tuple[float, ...] | None) -> Millivolts:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if resolution_mv is None or len(resolution_mv) != len(values):
        raise ValueError("steps need a resolution a lead")
    steps = np.cumsum(values, axis=1, dtype=values.dtype)
    voltage_mv: Millivolts = (steps * np.array(resolution_mv)[:, None]).astype(np.float32)
    voltage_mv[steps == np.iinfo(values.dtype).min] = np.nan
    return voltage_mv


def _shape(packed: Packed) -> tuple[int, int]:
    n_leads = len(packed.leads)
    if not (1 <= n_leads <= MAX_LEADS and 1 <= packed.n_samples <= MAX_SAMPLES):
        raise ValueError("shape out of range")
    return n_leads, packed.n_samples
