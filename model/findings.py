"""What the detector says about one ECG."""

from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import Any

ABNORMALITY_TYPES = ("MI", "STTC", "CD", "HYP", "ARR")
TYPE_NAMES = {
    "MI": "Myocardial infarction",
    "STTC": "ST/T change",
    "CD": "Conduction disturbance",
    "HYP": "Hypertrophy",
    "ARR": "Arrhythmia",
}
AAMI_CLASSES = ("N", "S", "V", "F", "Q")
RHYTHM_NAMES = {  # the gravest first
    "ventricular-run": "Ventricular run",
    "pause": "Pause",
    "AF": "Atrial fibrillation or flutter",
    "tachycardia": "Tachycardia",
    "bradycardia": "Bradycardia",
    "supraventricular-run": "Supraventricular run",
}
RHYTHM_UNITS = {
    "AF": "probability",
    "bradycardia": "beats/min",
    "tachycardia": "beats/min",
    "pause": "s",
    "ventricular-run": "beats",
    "supraventricular-run": "beats",
}


@dataclass(frozen=True)
class LeadFault:
    """One lead that cannot be read, and why (`flat-line`, `saturated`, `noise`, ...)."""

    lead: str
    reason: str


@dataclass(frozen=True)
class Quality:
    """Verdict of the quality gate: `good`, `limited` (a part is not assessed) or `unscorable`.

    Attributes:
        verdict: one of the three.
        reasons: stable codes for the ECG as a whole: why it is unscorable (then not empty), or what
            keeps a part of a limited one from being assessed.
        lead_faults: the masked leads.
    """

    verdict: str
    reasons: tuple[str, ...] = ()
    lead_faults: tuple[LeadFault, ...] = ()

    @property
    def scorable(self) -> bool:
        """Whether the network may see this ECG."""
        return self.verdict != "unscorable"


@dataclass(frozen=True)
class TypeFinding:
    """One abnormality type: calibrated probability in [0, 1] against its frozen threshold."""

    code: str
    probability: float
    threshold: float

    @property
    def flagged(self) -> bool:
        """At or above the threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class ModelIdentity:
    """Which bundle spoke: its name, version, and the SHA-256 of its weights."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Interval:
    """A stretch of the ECG that speaks for a type.

    Attributes:
        start_s: from the first sample, in seconds.
        end_s: likewise, after start_s.
        lead: canonical name of the lead with the strongest share.
        weight: share of the type's attention in this stretch, in [0, 1].
        type_code: one of ABNORMALITY_TYPES, or `anomaly` for the restoration residual.
    """

    start_s: float
    end_s: float
    lead: str
    weight: float
    type_code: str


@dataclass(frozen=True)
class Explanation:
    """Where in the ECG the findings come from.

    Attributes:
        step_s: seconds a step of `attention` and `residual_mv` covers.
        attention: type code -> weights over time that sum to 1 but for rounding, `(n_steps,)`.
        residual_mv: lead -> mean absolute restoration error a step in millivolts, `(n_steps,)`.
        intervals: the stretches worth looking at, strongest first.
    """

    step_s: float
    attention: dict[str, tuple[float, ...]]
    residual_mv: dict[str, tuple[float, ...]]
    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class Beat:
    """One beat as the strip model reads it.

    Attributes:
        time_s: of the R peak, from the first sample.
        aami_class: N, S, V, F or Q (ANSI/AAMI EC57, table 3).
        probability: of that class, calibrated, in [0, 1].
        anomaly_score: in [0, 1]; the share of normal validation beats that score lower.
    """

    time_s: float
    aami_class: str
    probability: float
    anomaly_score: float


@dataclass(frozen=True)
class RhythmFinding:
    """A stretch of one rhythm.

    Attributes:
        code: one of RHYTHM_NAMES.
        start_s: from the first sample.
        end_s: likewise, after start_s.
        value: what was measured, in the unit of RHYTHM_UNITS.
        threshold: what `value` was held against.
    """

    code: str
    start_s: float
    end_s: float
    value: float
    threshold: float


@dataclass(frozen=True)
class StripFindings:
    """What the strip model says: every beat, the rhythm, and where both come from.

    Attributes:
        model: the strip bundle.
        leads: the leads that were read.
        heart_rate_bpm: median over the strip; None with fewer than two beats.
        beats: in order of time.
        rhythms: findings worth telling, in order of time; none for a plain sinus rhythm.
        attention: a weight a beat, summing to 1: what the rhythm findings rest on.
    """

    model: ModelIdentity
    leads: tuple[str, ...]
    heart_rate_bpm: float | None
    beats: tuple[Beat, ...]
    rhythms: tuple[RhythmFinding, ...]
    attention: tuple[float, ...]


@dataclass(frozen=True)
class EpisodeFinding:
    """An episode of a rhythm in a continuous recording, of which the ECG shows the beginning.

    Attributes:
        code: one of RHYTHM_NAMES.
        onset: aware.
        last_seen: aware.
        ended: how it ended: `over`, `signal-lost`; None while it goes on.
        value: the highest, or of bradycardia the lowest, in the unit of RHYTHM_UNITS.
        threshold: what the values were held against.
        critical: whether somebody has to be told of it at once.
    """

    code: str
    onset: datetime
    last_seen: datetime
    ended: str | None
    value: float
    threshold: float
    critical: bool = False

    @property
    def duration_s(self) -> float:
        """From the onset to where it was last seen."""
        return (self.last_seen - self.onset).total_seconds()


@dataclass(frozen=True)
class Findings:
    """One assessment of one ECG; everything but `quality` is None when it is unscorable.

    Attributes:
        quality: the gate's verdict.
        model: the bundle that was asked, also when the gate refused.
        types: the five abnormality types in the order of ABNORMALITY_TYPES.
        normal_probability: calibrated probability of the statement NORM.
        anomaly_score: in [0, 1]; the share of normal validation ECGs that score lower.
        anomaly_threshold: frozen in the bundle.
        explanation: where it comes from.
        strip: what the strip model says of the same ECG; None when it was not asked.
        episode: for which a continuous recording is told; also of what is unscorable.
    """

    quality: Quality
    model: ModelIdentity
    types: tuple[TypeFinding, ...] = ()
    normal_probability: float | None = None
    anomaly_score: float | None = None
    anomaly_threshold: float | None = None
    explanation: Explanation | None = None
    strip: StripFindings | None = None
    episode: EpisodeFinding | None = None

    @property
    def anomalous(self) -> bool:
        """Whether the anomaly score reaches its threshold."""
        return (
            self.anomaly_score is not None
            and self.anomaly_threshold is not None
            and self.anomaly_score >= self.anomaly_threshold
        )

    @property
    def flagged_types(self) -> tuple[TypeFinding, ...]:
        """The types at or above their thresholds."""
        return tuple(t for t in self.types if t.flagged)

    @property
    def flags(self) -> tuple[str, ...]:
        """What is flagged, each once: codes of types, `anomaly`, codes of rhythms."""
        types = [t.code for t in self.flagged_types]
        rhythms = [r.code for r in self.strip.rhythms] if self.strip else []
        rhythms += [self.episode.code] if self.episode else []
        return tuple(dict.fromkeys([*types, *(["anomaly"] if self.anomalous else []), *rhythms]))

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts and numbers."""
        plain: dict[str, Any] = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        # As before there were episodes, and critical ones: the audit log has their hashes.
        if self.episode is None:
            del plain["episode"]
        elif not self.episode.critical:
            del plain["episode"]["critical"]
        return plain

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Findings":
        """Inverse of to_json."""
        quality = data["quality"]
        explanation = data["explanation"]
        return cls(
            quality=Quality(
                verdict=quality["verdict"],
                reasons=tuple(quality["reasons"]),
                lead_faults=tuple(LeadFault(**f) for f in quality["lead_faults"]),
            ),
            model=ModelIdentity(**data["model"]),
            types=tuple(TypeFinding(**t) for t in data["types"]),
            normal_probability=data["normal_probability"],
            anomaly_score=data["anomaly_score"],
            anomaly_threshold=data["anomaly_threshold"],
            explanation=explanation and _explanation(explanation),
            strip=_strip(data["strip"]) if data.get("strip") else None,
            episode=_episode(data["episode"]) if data.get("episode") else None,
        )


def _plain(value: object) -> object:
    """As dataclasses.asdict, which copies thousands of numbers one by one; here they are taken."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(one) for one in value] if value and is_dataclass(value[0]) else list(value)
    return value


def _episode(data: dict[str, Any]) -> EpisodeFinding:
    times = {name: datetime.fromisoformat(data[name]) for name in ("onset", "last_seen")}
    return EpisodeFinding(**(data | times))


def _strip(data: dict[str, Any]) -> StripFindings:
    return StripFindings(
        model=ModelIdentity(**data["model"]),
        leads=tuple(data["leads"]),
        heart_rate_bpm=data["heart_rate_bpm"],
        beats=tuple(Beat(**beat) for beat in data["beats"]),
        rhythms=tuple(RhythmFinding(**rhythm) for rhythm in data["rhythms"]),
        attention=tuple(data["attention"]),
    )


def _explanation(data: dict[str, Any]) -> Explanation:
    return Explanation(
        step_s=data["step_s"],
        attention={code: tuple(weights) for code, weights in data["attention"].items()},
        residual_mv={lead: tuple(values) for lead, values in data["residual_mv"].items()},
        intervals=tuple(Interval(**i) for i in data["intervals"]),
    )
