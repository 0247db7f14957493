"""The detector's opinion of many labelled ECGs, each read, gated and scored as in production.

One ECG is in memory at a time, so that the size of a data set does not matter.
"""

import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.anomaly import COMPONENTS
from model.assessor import MAX_RESTING_S
from model.baseline import AFTER, BEFORE, median_beat
from model.datasets.cases import Cases
from model.datasets.ptbxl import TYPES
from model.detector import Detector, Opinion, prepared_for
from model.ecg import Ecg
from model.errors import DatasetError, HisbundleError
from model.findings import Quality
from model.quality import assess_quality
from model.resting.settings import WINDOW

OnEcg = Callable[[], None]
LeadSets = Mapping[str, tuple[str, ...]]

_OPINION = tuple(f.name for f in fields(Opinion))
_CHUNK = 16  # ECGs that a worker takes at once


@dataclass(frozen=True, eq=False)
class Answer:
    """What became of one ECG.

    Attributes:
        quality: the gate's verdict.
        opinion: one row; None when unscorable.
        digest: SHA-256 of the samples.
        prepare_ms, network_ms: what gate with filter, and network with calibration, took.
        beat: median beat `(12, W)` of the first window, for the baseline.
        subsets: lead set to the opinion of it, None where the gate refused it.
    """

    quality: Quality
    opinion: Opinion | None
    digest: bytes
    prepare_ms: float
    network_ms: float
    beat: NDArray[np.float32]
    subsets: dict[str, Opinion | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scored:
    """Labelled ECGs that could be read, and the detector's opinion of each.

    Attributes:
        cases: `n` rows.
        opinion: `n` rows, NaN where the gate refused.
        quality: the gate's verdicts.
        prepare_ms: `(n,)`.
        network_ms: `(n,)`, NaN where the gate refused.
        beats: `(n, 12, W)` median beats.
        subsets: lead set to a row for each of `in_subsets`, NaN where the gate refused this set.
        in_subsets: `(n,)` the rows of which lead sets were tried: some of many.
        unreadable: reason to number of recordings that are no rows; `too-long` for the resting
            model, `duplicate` of another row.
        sha256: of labels and samples, in order.
    """

    cases: Cases
    opinion: Opinion
    quality: tuple[Quality, ...]
    prepare_ms: NDArray[np.float64]
    network_ms: NDArray[np.float64]
    beats: NDArray[np.float32]
    subsets: dict[str, Opinion]
    in_subsets: NDArray[np.bool_]
    unreadable: dict[str, int]
    sha256: str

    @property
    def scorable(self) -> NDArray[np.bool_]:
        """Rows that the gate lets pass, `(n,)`."""
        return np.array([q.scorable for q in self.quality], np.bool_)

    def rows(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Keep some rows, by mask; all of them are not copied: 45,000 ECGs take 0.2 GB."""
        if chosen.all():
            return self
        tried = chosen[self.in_subsets]
        return replace(
            self,
            cases=self.cases.rows(chosen),
            opinion=_some(self.opinion, chosen),
            quality=tuple(q for q, keep in zip(self.quality, chosen, strict=True) if keep),
            prepare_ms=self.prepare_ms[chosen],
            network_ms=self.network_ms[chosen],
            beats=self.beats[chosen],
            subsets={name: _some(opinion, tried) for name, opinion in self.subsets.items()},
            in_subsets=self.in_subsets[chosen],
        )


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do with which rows; lead sets only with those of `with_subsets`."""

    cases: Cases
    lead_sets: LeadSets
    with_subsets: frozenset[int]


def score_cases(
    detector: Detector,
    plan: Plan,
    on_ecg: OnEcg = lambda: None,
    *,
    model_path: Path | None = None,
    workers: int = 1,
) -> Scored:
    """Score every row; `workers` processes load the bundle at `model_path` again.

    Raises:
        DatasetError: `statements-differ` between model and data set, `nothing-readable` with the
            commonest reason.
    """
    cases = plan.cases
    if cases.statements is not None and cases.statement_names != detector.card.statements:
        raise DatasetError("statements-differ", "the model was trained on other statements")
    one_by_one = _in_processes(plan, model_path, workers) if workers > 1 else _here(detector, plan)
    answers: dict[int, Answer] = {}
    unreadable: dict[str, int] = {}
    seen: set[bytes] = set()
    for row, answer in enumerate(one_by_one):
        told = _twice(answer, cases, seen)
        if isinstance(told, Answer):
            answers[row] = told
        else:
            unreadable[told] = unreadable.get(told, 0) + 1
        on_ecg()
    if not answers:
        told = ", ".join(f"{reason} ({n})" for reason, n in unreadable.items())
        raise DatasetError("nothing-readable", f"no ECG could be read: {told or 'there is none'}")
    return _scored(detector, plan, answers, unreadable)


def _twice(answer: Answer | str, cases: Cases, seen: set[bytes]) -> Answer | str:
    """The answer, or `duplicate` where nothing but the samples could tell whose they are."""
    if cases.patients_known or isinstance(answer, str) or not answer.quality.scorable:
        return answer
    if answer.digest in seen:
        return "duplicate"
    seen.add(answer.digest)
    return answer


def answer(detector: Detector, ecg: Ecg, lead_sets: LeadSets) -> Answer:
    """Score one ECG, and parts of its leads."""
    started = time.perf_counter()
    quality = assess_quality(ecg)
    prepared = prepared_for(ecg, quality) if quality.scorable else None
    ready = time.perf_counter()
    opinion = detector.opine(prepared) if prepared else None
    done = time.perf_counter()
    return Answer(
        quality,
        opinion,
        hashlib.sha256(np.ascontiguousarray(ecg.voltage_mv).data).digest(),
        prepare_ms=1_000 * (ready - started),
        network_ms=1_000 * (done - ready) if opinion else float("nan"),
        beat=median_beat(prepared.voltage_mv[:, :WINDOW]) if prepared else _NO_BEAT,
        subsets={name: _of_leads(detector, ecg, leads) for name, leads in lead_sets.items()},
    )


_NO_BEAT = np.zeros((12, BEFORE + AFTER), np.float32)


def with_leads(ecg: Ecg, leads: tuple[str, ...]) -> Ecg | None:
    """The same ECG, had only these leads been sent; None when it lacks one of them."""
    if not set(leads) <= set(ecg.leads):
        return None
    rows = [ecg.leads.index(lead) for lead in leads]
    return Ecg(ecg.voltage_mv[rows], leads, ecg.sampling_rate_hz, ecg.start)


def _of_leads(detector: Detector, ecg: Ecg, leads: tuple[str, ...]) -> Opinion | None:
    fewer = with_leads(ecg, leads)
    quality = assess_quality(fewer) if fewer else None
    if fewer is None or quality is None or not quality.scorable:
        return None
    return detector.opine(prepared_for(fewer, quality))


def _one(detector: Detector, plan: Plan, row: int) -> Answer | str:
    """An answer, or the reason why there is none."""
    try:
        ecg = plan.cases.ecg(row)
        if ecg.duration_s > MAX_RESTING_S:
            return "too-long"  # the strip model's, in production
        return answer(detector, ecg, plan.lead_sets if row in plan.with_subsets else {})
    except HisbundleError as error:
        return error.reason


def _here(detector: Detector, plan: Plan) -> Iterator[Answer | str]:
    return (_one(detector, plan, row) for row in range(len(plan.cases)))


def _in_processes(plan: Plan, model_path: Path | None, workers: int) -> Iterator[Answer | str]:
    # A fork would share the runtime's threads and locks with its parent.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start, (model_path, plan)) as pool:
        yield from pool.map(_in_worker, range(len(plan.cases)), chunksize=_CHUNK)


_worker: list[tuple[Detector, Plan]] = []


def _start(model_path: Path | None, plan: Plan) -> None:
    _worker.append((Detector.load(model_path), plan))


def _in_worker(row: int) -> Answer | str:
    detector, plan = _worker[0]
    return _one(detector, plan, row)


def _scored(
    detector: Detector, plan: Plan, answers: dict[int, Answer], unreadable: dict[str, int]
) -> Scored:
    found = list(answers.values())
    cases = plan.cases.rows(np.array(list(answers), np.int64))
    empty = _unscored(len(detector.card.statements))
    in_subsets = np.array([row in plan.with_subsets for row in answers], np.bool_)
    tried = list(compress(found, in_subsets))
    digest = hashlib.sha256(np.ascontiguousarray(cases.types).data)
    for one in found:
        digest.update(one.digest)
    return Scored(
        cases=cases,
        opinion=_stacked([a.opinion or empty for a in found]),
        quality=tuple(a.quality for a in found),
        prepare_ms=np.array([a.prepare_ms for a in found]),
        network_ms=np.array([a.network_ms for a in found]),
        beats=np.stack([a.beat for a in found]),
        subsets={
            name: _stacked([a.subsets.get(name) or empty for a in tried])
            for name in (plan.lead_sets if tried else ())
        },
        in_subsets=in_subsets,
        unreadable=unreadable,
        sha256=digest.hexdigest(),
    )


_N_VIEWS = len(COMPONENTS)


def _unscored(n_statements: int) -> Opinion:
    widths = {"types": (len(TYPES),), "statements": (n_statements,), "anomaly": ()}
    shapes = {name: (1, *widths.get(name, (_N_VIEWS,))) for name in _OPINION}
    return Opinion(**{name: np.full(shape, np.nan) for name, shape in shapes.items()})


def _stacked(opinions: list[Opinion]) -> Opinion:
    return Opinion(
        **{n: np.concatenate([getattr(opinion, n) for opinion in opinions]) for n in _OPINION}
    )


def _some(opinion: Opinion, chosen: NDArray[np.bool_]) -> Opinion:
    return Opinion(**{name: getattr(opinion, name)[chosen] for name in _OPINION})
