"""The ECG: millivolts, named leads, a known rate. Nothing here is ever guessed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.errors import EcgError

Millivolts = NDArray[np.float32]

LIMB_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF")
CHEST_LEADS = ("V1", "V2", "V3", "V4", "V5", "V6")
LEADS_12 = LIMB_LEADS + CHEST_LEADS

MIN_RATE_HZ, MAX_RATE_HZ = 50.0, 5_000.0
MAX_SAMPLES = 60 * 60 * 1_000  # an hour at 1000 Hz, per lead
MAX_LEADS = 16
MAX_AMPLITUDE_MV = 20.0  # beyond this a unit was mistaken; no surface ECG reaches it

_CANONICAL = {name.upper(): name for name in LEADS_12}


def canonical_lead(name: str) -> str:
    """Return the usual spelling of a standard 12-lead name (`AVR` -> `aVR`).

    Raises:
        EcgError: `lead-unknown` for every other name.
    """
    try:
        return _CANONICAL[name.strip().upper()]
    except KeyError:
        raise EcgError("lead-unknown", f"{name[:32]!r} is not one of the twelve leads") from None


@dataclass(frozen=True, eq=False)
class Ecg:
    """One recording.

    Attributes:
        voltage_mv: `(n_leads, n_samples)` float32 in millivolts; NaN where the sender had no value.
        leads: canonical lead names, no lead twice.
        sampling_rate_hz: samples a second, the same for every lead.
        start: aware time of the first sample, or None when the sender did not say.
        resolution_mv: millivolts a step, per lead, where the source held integers; else None.

    Raises:
        EcgError: with the reason, when these do not fit together.
    """

    voltage_mv: Millivolts = field(repr=False)
    leads: tuple[str, ...]
    sampling_rate_hz: float
    start: datetime | None = None
    resolution_mv: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _check_shape(self)
        _check_values(self)

    @property
    def n_samples(self) -> int:
        """Samples per lead."""
        return int(self.voltage_mv.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sampling_rate_hz

    def lead(self, name: str) -> NDArray[Any]:
        """Return the samples of one lead, `(n_samples,)`, in millivolts.

        Raises:
            EcgError: `lead-missing`.
        """
        if name not in self.leads:
            raise EcgError("lead-missing", f"this ECG has no lead {name}")
        row: NDArray[Any] = self.voltage_mv[self.leads.index(name)]
        return row


def _check_shape(ecg: Ecg) -> None:
    if ecg.voltage_mv.ndim != 2 or ecg.voltage_mv.dtype != np.float32:
        raise EcgError("samples-malformed", "voltage_mv must be float32 (n_leads, n_samples)")
    n_leads, n_samples = ecg.voltage_mv.shape
    if not 1 <= n_leads <= MAX_LEADS or n_leads != len(ecg.leads):
        raise EcgError("leads-malformed", f"{len(ecg.leads)} lead names for {n_leads} rows")
    if not 1 <= n_samples <= MAX_SAMPLES:
        raise EcgError("samples-out-of-range", f"{n_samples} samples a lead")
    if len(set(ecg.leads)) != n_leads:
        raise EcgError("lead-duplicate", "a lead appears twice")
    for name in ecg.leads:
        if canonical_lead(name) != name:
            raise EcgError("lead-unknown", f"{name[:32]!r} is not a canonical lead name")
    if ecg.resolution_mv is not None and len(ecg.resolution_mv) != n_leads:
        raise EcgError("resolution-malformed", "one resolution a lead")


def _check_values(ecg: Ecg) -> None:
    if not MIN_RATE_HZ <= ecg.sampling_rate_hz <= MAX_RATE_HZ:
        raise EcgError("rate-out-of-range", f"{ecg.sampling_rate_hz:g} Hz")
    if ecg.start is not None and ecg.start.tzinfo is None:
        raise EcgError("time-naive", "start needs a time zone")
    if ecg.resolution_mv is not None and not all(0 < r < 1 for r in ecg.resolution_mv):
        raise EcgError("resolution-out-of-range", "a step must lie between 0 and 1 mV")
    # A saturated amplifier is the quality gate's business; a wrong unit is everybody's.
    if np.isinf(ecg.voltage_mv).any() or np.nanmax(np.abs(ecg.voltage_mv), initial=0.0) > (
        MAX_AMPLITUDE_MV
    ):
        raise EcgError("amplitude-implausible", f"beyond {MAX_AMPLITUDE_MV:g} mV")
