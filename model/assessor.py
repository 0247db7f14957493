"""Which model reads an ECG, and one assessment of what they say.

| what arrives                                  | read by                                  |
|-----------------------------------------------|------------------------------------------|
| six leads and more, up to ten minutes         | resting; its rhythm leads also by strip  |
| fewer leads, or longer                        | strip                                    |

The strip model never saw what its gate refuses: beats and rhythms of stretches that cannot be read
are left out, and the assessment says that it is limited, and why. It reads 100-1000 Hz; a resting
ECG at another rate keeps what the resting model says.
"""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from model.beats import MAX_RATE_HZ, MIN_RATE_HZ, Samples
from model.detector import Detector, Opinion
from model.ecg import Ecg
from model.findings import Findings, LeadFault, ModelIdentity, Quality, StripFindings
from model.quality import MIN_DURATION_S
from model.resting.card import RestingCard
from model.strip.detector import StripDetector
from model.strip.quality import StripQuality, assess_strip

MIN_RESTING_LEADS, MAX_RESTING_S = 6, 600.0
RHYTHM_LEADS = ("II", "V1")  # what the strip model learned from: MIT-BIH's MLII and, mostly, V1


class Examines(Protocol):
    """Reads ECGs: an Assessor, a StripReader, or model.detector.Detector for resting ones."""

    @property
    def card(self) -> RestingCard | None:
        """What an opinion is to be read with; None where there is never an opinion."""
        ...

    def examine(self, ecg: Ecg) -> tuple[Findings, Opinion | None]:
        """Assess one ECG, and say all that the findings rest on."""
        ...


class Strips(Protocol):
    """Reads strips: model.strip.detector.StripDetector."""

    identity: ModelIdentity

    def score(self, ecg: Ecg, r_peaks: Samples | None = None) -> StripFindings:
        """Read one strip, whose R peaks may be known already."""
        ...


class StripReader:
    """The strip model behind its gate; threads may share it."""

    card = None

    def __init__(self, strips: Strips) -> None:
        self._strips = strips

    @property
    def identity(self) -> ModelIdentity:
        """Which model it is."""
        return self._strips.identity

    @classmethod
    def load(cls, bundle: Path | None = None) -> Self:
        """Load a bundle folder, or the shipped one.

        Raises:
            BundleError: the folder is not a sound bundle.
        """
        return cls(StripDetector.load(bundle))

    def examine(self, ecg: Ecg) -> tuple[Findings, None]:
        """Assess one strip; what the quality gate refuses gets no scores."""
        strip, quality = self.read(ecg)
        return Findings(quality, self._strips.identity, strip=strip), None

    def read(self, ecg: Ecg) -> tuple[StripFindings | None, Quality]:
        """Return what a strip shows, or None where no stretch of it can be read."""
        if ecg.duration_s < MIN_DURATION_S:
            return None, Quality("unscorable", ("too-short",))
        if not MIN_RATE_HZ <= ecg.sampling_rate_hz <= MAX_RATE_HZ:
            return None, Quality("unscorable", ("rate-out-of-range",))
        gate = assess_strip(ecg.voltage_mv, ecg.sampling_rate_hz)
        faults = _lead_faults(gate, ecg)
        reasons = tuple(dict.fromkeys(str(fault) for fault in gate.window_faults if fault))
        if not gate.answered.any():
            return None, Quality("unscorable", reasons, faults)
        readable = (gate.lead_faults == "").any(axis=0)
        shown = Ecg(
            gate.readable(ecg.voltage_mv)[readable],
            tuple(lead for lead, ok in zip(ecg.leads, readable, strict=True) if ok),
            ecg.sampling_rate_hz,
            ecg.start,
        )
        quality = Quality("limited" if faults or reasons else "good", reasons, faults)
        # The gate found them in just these leads, unless one of them has dropped out since.
        strip = self._strips.score(shown, gate.beats if readable.all() else None)
        return _answered(strip, gate, ecg.sampling_rate_hz), quality


class Assessor:
    """Both models; threads may share it."""

    def __init__(
        self, resting: Examines, strips: Strips, models: tuple[ModelIdentity, ...] = ()
    ) -> None:
        """Take both, and what they are called."""
        self._resting = resting
        self.strips = StripReader(strips)  # reads continuous recordings alone
        self.models = models

    @classmethod
    def load(
        cls,
        resting: Path | None = None,
        strip: Path | None = None,
        *,
        operating_point: str | None = None,
    ) -> Self:
        """Load bundle folders, or the shipped ones.

        Raises:
            BundleError: a folder is not a sound bundle, or has no such operating point.
        """
        detector = Detector.load(resting, operating_point=operating_point)
        strips = StripDetector.load(strip)
        return cls(detector, strips, (detector.identity, strips.identity))

    @property
    def card(self) -> RestingCard | None:
        """Of the resting model, whose opinions are passed on."""
        return self._resting.card

    def score(self, ecg: Ecg) -> Findings:
        """Assess one ECG; what the quality gate refuses gets no scores."""
        return self.examine(ecg)[0]

    def examine(self, ecg: Ecg) -> tuple[Findings, Opinion | None]:
        """Assess one ECG, and say what a resting ECG's findings rest on."""
        if len(ecg.leads) < MIN_RESTING_LEADS or ecg.duration_s > MAX_RESTING_S:
            return self.strips.examine(ecg)
        findings, opinion = self._resting.examine(ecg)
        if not findings.quality.scorable:
            return findings, None
        strip, rhythm = self.strips.read(_rhythm_leads(ecg, findings.quality))
        quality = _limited_by(findings.quality, rhythm.reasons)
        return replace(findings, quality=quality, strip=strip), opinion


def _rhythm_leads(ecg: Ecg, quality: Quality) -> Ecg:
    """Return the leads of a resting ECG whose rhythm is read; the first readable one at least."""
    faulty = {fault.lead for fault in quality.lead_faults}
    sound = [lead for lead in ecg.leads if lead not in faulty]
    chosen = tuple(lead for lead in RHYTHM_LEADS if lead in sound) or (sound or ecg.leads)[:1]
    rows = [ecg.leads.index(lead) for lead in chosen]
    return Ecg(ecg.voltage_mv[rows], tuple(chosen), ecg.sampling_rate_hz, ecg.start)


def _limited_by(quality: Quality, reasons: tuple[str, ...]) -> Quality:
    """Add why the rhythm was not read, or not all through; without a reason nothing changes."""
    if not reasons:
        return quality
    return replace(quality, verdict="limited", reasons=(*quality.reasons, *reasons))


def _lead_faults(gate: StripQuality, ecg: Ecg) -> tuple[LeadFault, ...]:
    """Return the leads that can be read nowhere, each with what is wrong most often."""
    found = []
    for lead, faults in zip(ecg.leads, gate.lead_faults.T, strict=True):
        if (faults != "").all():
            names, counts = np.unique(faults, return_counts=True)
            found.append(LeadFault(lead, str(names[counts.argmax()])))
    return tuple(found)


def _answered(strip: StripFindings, gate: StripQuality, rate_hz: float) -> StripFindings:
    """Leave out the beats of windows without an answer, and rhythms that lie mostly in them."""
    if gate.answered.all():
        return strip
    samples = np.array([round(beat.time_s * rate_hz) for beat in strip.beats], np.int64)
    kept = gate.answered[gate.at(samples)] if len(samples) else np.zeros(0, np.bool_)
    weights = np.array(strip.attention)[kept] if len(strip.attention) else np.zeros(0)
    total = weights.sum()
    return replace(
        strip,
        beats=tuple(beat for beat, keep in zip(strip.beats, kept, strict=True) if keep),
        attention=tuple((weights / total if total > 0 else weights).tolist()),
        rhythms=tuple(
            rhythm
            for rhythm in strip.rhythms
            if _share_answered(rhythm.start_s, rhythm.end_s, gate, rate_hz) > 0.5
        ),
    )


def _share_answered(start_s: float, end_s: float, gate: StripQuality, rate_hz: float) -> float:
    starts_s = gate.starts / rate_hz
    ends_s = np.append(starts_s[1:], gate.n_samples / rate_hz)
    overlap = np.clip(np.minimum(ends_s, end_s) - np.maximum(starts_s, start_s), 0, None)
    return float(overlap[gate.answered].sum() / max(overlap.sum(), 1e-9))
