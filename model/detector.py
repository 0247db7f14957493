"""From an ECG to findings: quality gate, network, calibration, explanation.

ECGs longer than a window are read in windows of 10 s, the last one ending with the ECG: a type's
probability and the anomaly score are the highest of all windows, NORM's the lowest. Shorter ones
are filled up with samples that the network knows to be missing; how short is still readable is the
quality gate's decision, and so is which leads to leave out. What the leads that are left cannot
carry is withheld, as measured when the bundle was frozen (`model.resting.support`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from model.anomaly import AnomalyModel, anomaly_features
from model.datasets.ptbxl import TYPES
from model.ecg import LEADS_12, Ecg
from model.errors import BundleError
from model.explain import ANOMALY, Evidence, Steps, intervals, joined, shared
from model.findings import (
    ABNORMALITY_TYPES,
    Explanation,
    Findings,
    ModelIdentity,
    Quality,
    TypeFinding,
)
from model.quality import assess_quality
from model.resting.card import (
    SHIPPED,
    RestingBundle,
    RestingCard,
    TypeCalibration,
    load_resting,
)
from model.resting.measured import Measured
from model.resting.settings import STEP_S, STRIDE, WINDOW
from model.runtime import Runtime, open_runtime
from model.signal import Prepared, prepare, whole_steps, windows

# Decimals of the explanation, which is most of what is stored of an assessment: 0.1 % of the weight
# that an even spread over 10 s would give a step, and 0.1 uV, far below a recorder's own step.
ATTENTION_DIGITS, RESIDUAL_DIGITS = 5, 4


@dataclass(frozen=True, eq=False)
class Opinion:
    """Calibrated answers for n windows.

    Attributes:
        types: `(n, 6)` probabilities in the order of TYPES.
        statements: `(n, 71)` probabilities as the network gives them, not calibrated.
        anomaly: `(n,)` share of normal validation ECGs that are less unusual.
        views: `(n, 3)` the anomaly's components.
    """

    types: NDArray[np.float64]
    statements: NDArray[np.float64]
    anomaly: NDArray[np.float64]
    views: NDArray[np.float64]

    def rows(self, chosen: slice) -> "Opinion":
        """Keep some windows."""
        return Opinion(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(frozen=True, eq=False)
class _Ready:
    """One ECG that passed the gate, and what so few leads cannot carry."""

    quality: Quality
    prepared: Prepared
    withheld: frozenset[str]


@dataclass(frozen=True, eq=False)
class _Look:
    """One ECG in W windows; `first_steps` says where each begins."""

    whole: Prepared
    first_steps: list[int]
    pieces: list[Prepared]
    measured: Measured
    opinion: Opinion

    @property
    def n_steps(self) -> int:
        """How many steps the ECG has; a window that it does not fill has more."""
        return int(self.whole.visible.shape[1]) // STRIDE

    def evidence(self, code: str, window: int, weights: Steps, influence: Steps) -> Evidence:
        """Keep the steps of a window that the ECG has: an even spread is one over these."""
        first = self.first_steps[window]
        seen = self.n_steps - first
        return Evidence(code, first, weights[:seen], influence[:, :seen])


class Detector:
    """A verified bundle, ready to score; threads may share it, each call takes one core."""

    def __init__(
        self,
        bundle: RestingBundle,
        runtime: Runtime | None = None,
        *,
        operating_point: str | None = None,
    ) -> None:
        """Take a verified bundle.

        Args:
            bundle: weights and card.
            runtime: that reads the network; by default the fastest that is there.
            operating_point: whose thresholds flag; by default the card's own choice.

        Raises:
            BundleError: `operating-point-unknown`.
        """
        self.card: RestingCard = bundle.card
        self.operating_point = operating_point or bundle.card.operating_point
        if any(self.operating_point not in c.operating_points for c in self._calibrations):
            raise BundleError("operating-point-unknown", f"no {self.operating_point!r} here")
        self.identity: ModelIdentity = bundle.identity
        self._runtime = runtime or open_runtime(bundle)
        self._anomaly = AnomalyModel.from_tensors(bundle.tensors)

    @classmethod
    def load(cls, bundle: Path | None = None, *, operating_point: str | None = None) -> Self:
        """Load a bundle folder, or the shipped one.

        Raises:
            BundleError: the folder is not a sound bundle, or has no such operating point.
        """
        return cls(load_resting(bundle or SHIPPED), operating_point=operating_point)

    @property
    def _calibrations(self) -> tuple[TypeCalibration, ...]:
        return tuple(self.card.type_calibration.values())

    def score(self, ecg: Ecg) -> Findings:
        """Assess one ECG; an ECG that the quality gate refuses gets no scores."""
        return self.examine(ecg)[0]

    def examine(self, ecg: Ecg) -> tuple[Findings, Opinion | None]:
        """Assess one ECG, and say all that the findings rest on; None when it is unscorable."""
        return self.examine_all([ecg])[0]

    def examine_all(self, ecgs: Sequence[Ecg]) -> list[tuple[Findings, Opinion | None]]:
        """Assess each; the network looks at all together, which costs it less."""
        gated = [self._gated(ecg) for ecg in ecgs]
        looks = iter(self._looks([g.prepared for g in gated if isinstance(g, _Ready)]))
        return [
            self._found(one, next(looks)) if isinstance(one, _Ready) else (one, None)
            for one in gated
        ]

    def _gated(self, ecg: Ecg) -> _Ready | Findings:
        """Return what the network may see of an ECG, or the findings if that is nothing."""
        quality = assess_quality(ecg)
        if not quality.scorable:
            return Findings(quality, self.identity)
        prepared = prepared_for(ecg, quality)
        withheld = self.card.withheld(_shown(prepared))
        if withheld.issuperset(ABNORMALITY_TYPES):
            return Findings(_refused(quality), self.identity)
        return _Ready(quality, whole_steps(prepared, STRIDE), withheld)

    def _found(self, ready: _Ready, look: _Look) -> tuple[Findings, Opinion]:
        opinion, withheld = self._of_all_windows(look.opinion), ready.withheld
        points = {code: c.operating_points for code, c in self.card.type_calibration.items()}
        types = tuple(
            TypeFinding(
                code, float(opinion.types[0, i]), points[code][self.operating_point].threshold
            )
            for i, code in enumerate(TYPES)
            if i > 0 and code not in withheld
        )
        findings = Findings(
            quality=_limited(ready.quality) if withheld else ready.quality,
            model=self.identity,
            types=types,
            normal_probability=None if "NORM" in withheld else float(opinion.types[0, 0]),
            anomaly_score=None if ANOMALY in withheld else float(opinion.anomaly[0]),
            anomaly_threshold=None if ANOMALY in withheld else self.card.anomaly.threshold,
        )
        return replace(findings, explanation=self._explain(look, findings)), opinion

    def opine(self, prepared: Prepared) -> Opinion:
        """One row for an ECG of any length that passed the gate, without an explanation."""
        return self.opine_all([prepared])[0]

    def opine_all(self, prepared: Sequence[Prepared]) -> list[Opinion]:
        """The same for each; the network looks at all together."""
        looks = self._looks([whole_steps(one, STRIDE) for one in prepared])
        return [self._of_all_windows(look.opinion) for look in looks]

    def _of_all_windows(self, opinion: Opinion) -> Opinion:
        """The highest of all windows, and the lowest of what speaks for a normal ECG."""
        types, statements = opinion.types.max(axis=0), opinion.statements.max(axis=0)
        types[0] = opinion.types[:, 0].min()
        normal = self.card.statements.index("NORM")
        statements[normal] = opinion.statements[:, normal].min()
        highest = opinion.anomaly.max(keepdims=True)
        return Opinion(types[None], statements[None], highest, opinion.views.max(axis=0)[None])

    def measure(self, pieces: list[Prepared]) -> Measured:
        """Let the network look at windows of WINDOW samples."""
        return self._runtime.measure(
            np.stack([piece.voltage_mv for piece in pieces]),
            np.stack([piece.visible for piece in pieces]),
        )

    def judge(self, measured: Measured, pieces: list[Prepared]) -> Opinion:
        """Calibrate what the network measured of these windows."""
        views = self._anomaly.views(
            anomaly_features(
                np.stack([piece.voltage_mv for piece in pieces]),
                measured.restored_mv,
                np.stack([piece.visible for piece in pieces]),
                measured.pooled,
                measured.type_logits,
            )
        )
        logits = measured.type_logits.astype(np.float64)
        platt = [self.card.type_calibration[code].platt for code in TYPES]
        return Opinion(
            types=np.stack([p(logits[:, i : i + 1]) for i, p in enumerate(platt)], axis=1),
            statements=1 / (1 + np.exp(-measured.statement_logits.astype(np.float64))),
            anomaly=self.card.anomaly.share_of_normals_below(self._anomaly.fused(views)),
            views=views,
        )

    def _looks(self, wholes: Sequence[Prepared]) -> list[_Look]:
        cuts = [windows(whole, WINDOW) for whole in wholes]
        pieces = [piece for cut in cuts for _, piece in cut]
        if not pieces:
            return []
        measured = self.measure(pieces)
        opinion = self.judge(measured, pieces)
        looks, first = [], 0
        for whole, cut in zip(wholes, cuts, strict=True):
            own = slice(first, first + len(cut))
            first_steps = [start // STRIDE for start, _ in cut]
            look = _Look(whole, first_steps, pieces[own], measured.rows(own), opinion.rows(own))
            looks.append(look)
            first += len(cut)
        return looks

    def _explain(self, look: _Look, findings: Findings) -> Explanation:
        """Maps over the whole ECG; intervals from each finding's strongest window."""
        residual_mv = joined(look.measured.residual_mv, look.first_steps)[:, : look.n_steps]
        attention = {
            code: shared(look.measured.attention[:, i], look.opinion.types[:, i], look.first_steps)
            for i, code in enumerate(TYPES)
            if code in {t.code for t in findings.types}
        }
        return Explanation(
            step_s=STEP_S,
            attention={
                code: tuple(row[: look.n_steps].round(ATTENTION_DIGITS).tolist())
                for code, row in attention.items()
            },
            residual_mv={
                lead: tuple(row.round(RESIDUAL_DIGITS).tolist())
                for lead, row, seen in zip(LEADS_12, residual_mv, look.whole.visible, strict=True)
                if seen.any()
            },
            intervals=intervals(self._evidence(look, findings)),
        )

    def _evidence(self, look: _Look, findings: Findings) -> list[Evidence]:
        strongest = look.opinion.types.argmax(axis=0)
        flagged = [TYPES.index(t.code) for t in findings.flagged_types]
        found = []
        for w in sorted({int(strongest[i]) for i in flagged}):
            here, piece = [i for i in flagged if strongest[i] == w], look.pieces[w]
            influences = self._runtime.influence(piece.voltage_mv, piece.visible, here)
            for i, influence in zip(here, influences, strict=True):
                found.append(look.evidence(TYPES[i], w, look.measured.attention[w, i], influence))
        if findings.anomalous:
            w = int(np.argmax(look.opinion.anomaly))
            residual = look.measured.residual_mv[w]
            found.append(look.evidence(ANOMALY, w, residual.sum(axis=0), residual))
        return found


def _shown(prepared: Prepared) -> tuple[str, ...]:
    """Leads that the network sees something of, completed limb leads among them."""
    return tuple(lead for lead, seen in zip(LEADS_12, prepared.visible, strict=True) if seen.any())


def _limited(quality: Quality) -> Quality:
    """Some findings are withheld, because these leads cannot carry them."""
    return replace(quality, verdict="limited", reasons=(*quality.reasons, "few-leads"))


def _refused(quality: Quality) -> Quality:
    return replace(quality, verdict="unscorable", reasons=("too-few-leads",))


def prepared_for(ecg: Ecg, quality: Quality) -> Prepared:
    """What the network may see of an ECG: the leads that passed the gate."""
    return prepare(ecg, frozenset(fault.lead for fault in quality.lead_faults))
