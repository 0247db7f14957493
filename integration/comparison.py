"""Two models side by side: what is stored of ECGs, and what another model finds in them now.

Nothing is stored: a report says what the model said that made it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from db.errors import Corrupt, NotFound
from db.store import Store
from model.ecg import Ecg
from model.errors import EcgError
from model.findings import Findings


class Scorer(Protocol):
    """Anything that turns an ECG into findings: model.assessor.Assessor."""

    def score(self, ecg: Ecg) -> Findings:
        """Return what is found in one ECG."""
        ...


@dataclass(frozen=True)
class Compared:
    """One ECG, as stored and as found now.

    Attributes:
        before: as stored.
        after: by the other model.
    """

    id: UUID
    before: Findings
    after: Findings

    @property
    def gained(self) -> tuple[str, ...]:
        """What only the other model flags."""
        return tuple(code for code in self.after.flags if code not in self.before.flags)

    @property
    def lost(self) -> tuple[str, ...]:
        """What the other model does not flag any more."""
        return tuple(code for code in self.before.flags if code not in self.after.flags)

    @property
    def quality_changed(self) -> bool:
        """Whether the two gates disagree on whether it can be scored."""
        return self.before.quality.scorable != self.after.quality.scorable

    @property
    def changed(self) -> bool:
        """Whether a clinician would read something else."""
        return bool(self.gained or self.lost or self.quality_changed)

    @property
    def largest_shift(self) -> float:
        """By how much the probability of a type, or the anomaly score, differs at most."""
        before = {t.code: t.probability for t in self.before.types}
        shifts = [abs(t.probability - before.get(t.code, t.probability)) for t in self.after.types]
        scores = self.before.anomaly_score, self.after.anomaly_score
        if scores[0] is not None and scores[1] is not None:
            shifts.append(abs(scores[1] - scores[0]))
        return max(shifts, default=0.0)


def compared(store: Store, scorer: Scorer, ids: Iterable[UUID]) -> Iterator[Compared | None]:
    """Yield each ECG's two findings; None for one without findings, or whose samples are gone."""
    for id_ in ids:
        try:
            stored = store.load_assessed(id_)
            yield Compared(id_, stored.findings, scorer.score(stored.exam.ecg))
        except (NotFound, Corrupt, EcgError):
            yield None
