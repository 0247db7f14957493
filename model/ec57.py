"""Beat-by-beat comparison after ANSI/AAMI EC57, equal count for count to the WFDB tool `bxb`.

A beat of the reference and one of the test match within 150 ms, each with its nearest. What has
no match is paired with O, or with X where the other side calls the signal unreadable. Beats found
in a reference's ventricular flutter count for nothing. Fusion and unclassifiable beats called V are
no false ventricular beats, and unclassifiable beats called S no false supraventricular ones.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from model.annotations import (
    BXB_CLASSES,
    FLUTTER_OFF,
    FLUTTER_ON,
    SIGNAL_QUALITY,
    UNREADABLE_BITS,
    Annotations,
)
from model.errors import DatasetError
from model.findings import AAMI_CLASSES

Counts = NDArray[np.int64]
Periods = NDArray[np.int64]

LABELS = (*AAMI_CLASSES, "O", "X")
WINDOW_S = 0.15  # EC57, 4.3
LEARNING_S = 300.0  # the first five minutes are not scored

_FAR = np.iinfo(np.int64).max // 4  # later than any beat
_N, _S, _V, _F, _Q, _O, _X = range(7)


class Rates(NamedTuple):
    """Figures of one kind of beat; NaN where there was nothing to count."""

    sensitivity: float
    positive_predictivity: float
    false_positive_rate: float
    f1: float
    true_positives: int
    false_negatives: int
    false_positives: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """One recording or several.

    Attributes:
        counts: `(7, 7)` pairs, reference in rows and test in columns, both in the order of LABELS.
        squared_rr_errors_s2: sum of squared differences of RR intervals.
        n_rr: how many were compared.
    """

    counts: Counts
    squared_rr_errors_s2: float = 0.0
    n_rr: int = 0

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(
            self.counts + other.counts,
            self.squared_rr_errors_s2 + other.squared_rr_errors_s2,
            self.n_rr + other.n_rr,
        )

    @classmethod
    def gross(cls, parts: Iterable["Comparison"]) -> Self:
        """All recordings as one (EC57: gross statistics)."""
        total = sum(parts, Comparison(np.zeros((7, 7), np.int64)))
        return cls(total.counts, total.squared_rr_errors_s2, total.n_rr)

    @property
    def rr_error_ms(self) -> float:
        """Root mean square error of RR intervals."""
        return 1000 * float(np.sqrt(self.squared_rr_errors_s2 / self.n_rr)) if self.n_rr else np.nan

    @property
    def qrs(self) -> Rates:
        """Detection of beats of any kind; there is no count of what is rightly no beat."""
        found = int(self.counts[:_O, :_O].sum())
        return _rates(found, self.counts[:_O, _O:].sum(), self.counts[_O:, :_O].sum(), None)

    @property
    def ventricular(self) -> Rates:
        """Of ventricular ectopic beats (VEB)."""
        return self._of(_V, no_alarm=(_F, _Q))

    @property
    def supraventricular(self) -> Rates:
        """Of supraventricular ectopic beats (SVEB)."""
        return self._of(_S, no_alarm=(_Q,))

    def one_class(self, label: str) -> Rates:
        """Of one class of AAMI_CLASSES, every beat wrongly called so being a false positive."""
        return self._of(LABELS.index(label), no_alarm=())

    def _of(self, k: int, *, no_alarm: tuple[int, ...]) -> Rates:
        others = [row for row in range(7) if row != k]
        alarms = sum(int(self.counts[row, k]) for row in others if row not in no_alarm)
        quiet = int(np.delete(self.counts[others, :_O], k, axis=1).sum())
        missed = int(self.counts[k].sum() - self.counts[k, k])
        return _rates(int(self.counts[k, k]), missed, alarms, quiet)

    @property
    def accuracy(self) -> float:
        """Share of the reference's beats that were found and given the right of five classes."""
        beats = int(self.counts[:_O].sum())
        return int(np.trace(self.counts[:_O, :_O])) / beats if beats else np.nan

    @property
    def majority(self) -> float:
        """Accuracy of a test that finds every beat and always says the commonest class."""
        of_class = self.counts[:_O].sum(axis=1)
        return float(of_class.max() / of_class.sum()) if of_class.any() else np.nan

    def confusion(self) -> NDArray[np.float64]:
        """`(5, 6)` shares of each class's beats by what they were called, last: not found."""
        called = np.column_stack([self.counts[:_O, :_O], self.counts[:_O, _O:].sum(axis=1)])
        beats = called.sum(axis=1, keepdims=True)
        return np.where(beats > 0, called / np.maximum(beats, 1), np.nan)


def compare(
    reference: Annotations,
    test: Annotations,
    *,
    n_samples: int | None = None,
    start_s: float = LEARNING_S,
    window_s: float = WINDOW_S,
    classes: dict[str, str] = BXB_CLASSES,
) -> Comparison:
    """Pair the beats of one recording.

    Args:
        reference: what the experts said.
        test: what is to be judged.
        n_samples: length of the recording; None ends with the reference's last beat.
        start_s: beats before it are a learning period; 0 scores all.
        window_s: how far apart two annotations of one beat may lie.
        classes: AAMI class of each symbol, for both sides.

    Raises:
        DatasetError: `rates-differ`.
    """
    if reference.sampling_rate_hz != test.sampling_rate_hz:
        raise DatasetError("rates-differ", "reference and test count samples of different lengths")
    rate_hz = reference.sampling_rate_hz
    # Times become samples with halves rounded up, as WFDB does.
    window, start = (int(seconds * rate_hz + 0.5) for seconds in (window_s, start_s))
    expert, judged = (_Side(side, classes, window) for side in (reference, test))
    pairs = _pairs(expert.samples, judged.samples, window, start, n_samples)
    return _counted(expert, judged, pairs, rate_hz)


def match_beats(reference: Counts, test: Counts, window: int) -> tuple[Counts, Counts]:
    """Indices into two ascending lists of samples of the beats that match within `window`."""
    both = [(i, j) for i, j, kind in _pairs(reference, test, window, 0, None) if kind == "both"]
    matched = np.array(both, np.int64).reshape(-1, 2)
    return matched[:, 0], matched[:, 1]


class _Side:
    """Beats of one side outside its flutter, with their classes, RR intervals and periods."""

    def __init__(self, annotations: Annotations, classes: dict[str, str], window: int) -> None:
        samples, labels = annotations.beats(classes)
        self.flutter = _flutter(annotations)
        kept = ~_inside(samples, self.flutter)
        self.samples = samples[kept]
        self.labels = np.array([LABELS.index(label) for label in labels[kept]], np.int64)
        self.unreadable = _unreadable(annotations, self.samples, self.flutter, window)
        self.rr = _rr(self.samples, np.concatenate([self.flutter[:, 0], self.unreadable[:, 0]]))


def _flutter(annotations: Annotations) -> Periods:
    """First and last sample of each period of ventricular flutter or fibrillation."""
    periods, begun = [], None
    for sample, symbol in zip(annotations.samples, annotations.symbols, strict=True):
        if symbol == FLUTTER_ON and begun is None:
            begun = sample
        elif symbol == FLUTTER_OFF and begun is not None:
            periods.append((begun, sample))
            begun = None
    if begun is not None:
        periods.append((begun, _FAR))
    return np.array(periods, np.int64).reshape(-1, 2)


def _unreadable(annotations: Annotations, beats: Counts, flutter: Periods, window: int) -> Periods:
    """First and last sample of each period in which no lead can be read.

    It ends with the next word on signal quality. Where that is not the next annotation, the mark
    stands somewhere inside (AHA database), and the period reaches to a window from its neighbours.
    """
    quality = annotations.symbols == SIGNAL_QUALITY
    marks = quality & ((annotations.subtypes & UNREADABLE_BITS) == UNREADABLE_BITS)
    periods = []
    for k in np.flatnonzero(marks):
        first = int(annotations.samples[k])
        last = int(annotations.samples[k + 1]) if k + 1 < len(marks) else _FAR
        if k + 1 < len(marks) and (marks[k + 1] or not quality[k + 1]):
            before = np.concatenate([beats[beats <= first], flutter[flutter[:, 1] <= first, 1]])
            last -= window
            first = min(int(before.max(initial=0)) + window, last)
        periods.append((first, last))
    return np.array(periods, np.int64).reshape(-1, 2)


def _inside(samples: Counts, periods: Periods) -> NDArray[np.bool_]:
    within = (samples[:, None] >= periods[:, 0]) & (samples[:, None] <= periods[:, 1])
    inside: NDArray[np.bool_] = np.any(within, axis=1)
    return inside


def _rr(samples: Counts, breaks: Counts) -> Counts:
    """Interval before each beat; 0 for the first, and where flutter or silence began in it."""
    rr = np.diff(samples, prepend=samples[:1])
    broken = np.searchsorted(samples, breaks, side="right")
    rr[broken[broken < len(rr)]] = 0
    return rr


def _pairs(
    reference: Counts, test: Counts, window: int, start: int, end: int | None
) -> list[tuple[int, int, str]]:
    """Walk both lists at once; every step pairs the earlier beat, if the other is its nearest.

    Returns:
        Index into each list and whether `both` match, or a beat is in one alone (the other index
        is then of the beat that comes next).
    """
    ref, tst = [*reference.tolist(), _FAR, _FAR], [*test.tolist(), _FAR, _FAR]
    i, j = (int(np.searchsorted(side, start)) for side in (reference, test))
    pairs = []
    if start and j and _near(ref[i] - tst[j - 1], abs(ref[i] - tst[j]), window):
        pairs.append((i, j - 1, "both"))
        i += 1
    elif start and tst[j] - start <= window and abs(ref[i] - tst[j + 1]) < abs(ref[i] - tst[j]):
        j += 1  # belongs to a beat of the learning period
    last = end if end is not None else int(reference[-1]) if len(reference) else -1
    while (ref[i] <= last or tst[j] <= last) if end is not None else i < len(reference):
        apart = ref[i] - tst[j]
        other = ref[i] - tst[j + 1] if apart > 0 else tst[j] - ref[i + 1]
        kind = "both" if _near(abs(apart), abs(other), window) else "test" if apart > 0 else "ref"
        pairs.append((i, j, kind))
        i += kind != "test"
        j += kind != "ref"
    return pairs


def _near(apart: int, other: int, window: int) -> bool:
    return apart <= window and apart < other


def _counted(
    reference: _Side, test: _Side, pairs: list[tuple[int, int, str]], rate_hz: float
) -> Comparison:
    counts = np.zeros((7, 7), np.int64)
    errors = []
    for i, j, kind in pairs:
        if kind == "both":
            counts[reference.labels[i], test.labels[j]] += 1
        elif kind == "ref":
            counts[reference.labels[i], _absent(reference.samples[i], test.unreadable)] += 1
        elif not _inside(test.samples[j : j + 1], reference.flutter)[0]:
            counts[_absent(test.samples[j], reference.unreadable), test.labels[j]] += 1
        if i < len(reference.rr) and j < len(test.rr) and reference.rr[i] and test.rr[j]:
            errors.append((reference.rr[i] - test.rr[j]) / rate_hz)
    return Comparison(counts, float(np.sum(np.square(errors))), len(errors))


def _absent(sample: np.int64, unreadable: Periods) -> int:
    return _X if _inside(np.array([sample]), unreadable)[0] else _O


def _rates(hits: int, missed: int, alarms: int, quiet: int | None) -> Rates:
    return Rates(
        sensitivity=_share(hits, hits + missed),
        positive_predictivity=_share(hits, hits + alarms),
        false_positive_rate=np.nan if quiet is None else _share(alarms, alarms + quiet),
        f1=_share(2 * hits, 2 * hits + missed + alarms),
        true_positives=int(hits),
        false_negatives=int(missed),
        false_positives=int(alarms),
    )


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else np.nan
