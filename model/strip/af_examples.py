"""Labelled windows for the AF network: PTB-XL's rhythm statements, MIT-BIH's rhythm annotations.

Only the first says anything of `other`; where a label is not known, no loss falls on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import wfdb
from numpy.typing import NDArray

from model.beats import detect_r_peaks
from model.datasets.ptbxl import PtbXl, millivolts
from model.ecg import LEADS_12
from model.errors import DatasetError
from model.signal import RATE_HZ, remove_baseline, resample
from model.strip.af import window_bounds
from model.strip.af_inputs import MAX_BEATS, MIN_BEATS, AfInputs, Array, window_inputs

AF_STATEMENTS = frozenset({"AFIB", "AFLT"})
# What the challenge of 2017 would call "other": ectopy, other rhythms, conduction.
OTHER_STATEMENTS = (
    frozenset({"PVC", "PAC", "PRC(S)", "BIGU", "TRIGU"})
    | {"SVARR", "SVTAC", "PSVT", "STACH", "SBRAD", "SARRH", "PACE"}
    | {"1AVB", "2AVB", "3AVB", "CRBBB", "CLBBB", "WPW"}
)
AF_RHYTHMS = frozenset({"(AFIB", "(AFL"})
# De Chazal's DS1 without paced records (de Chazal et al., IEEE Trans Biomed Eng 51:1196, 2004).
DS1 = (
    *("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122"),
    *("124", "201", "203", "205", "207", "208", "209", "215", "220", "223", "230"),
)
NOISE_RECORDS = ("bw", "em", "ma")

_NOISE_SNR_DB = (3.0, 24.0)
_CROPPED_SHARE, _SHORTEST_S = 0.3, 5.0
_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Examples:
    """n windows; their beats stand one after the other, B in all.

    Attributes:
        segments: `(B, BEFORE + AFTER)` half precision.
        rhythm: `(B, N_RHYTHM)`.
        window: `(n, N_WINDOW)`.
        n_beats: `(n,)`.
        labels: `(n, 2)` by HEADS: 1, 0, or -1 where nobody said.
        group: `(n,)` the patient (PTB-XL) or the record (MIT-BIH).
        fold: `(n,)` of PTB-XL, 0 elsewhere.
        lead: `(n,)` index in LEADS_12, -1 elsewhere.
        clean: `(n,)` nothing was added or cut off.
    """

    segments: NDArray[np.float16]
    rhythm: Array
    window: Array
    n_beats: NDArray[np.int64]
    labels: NDArray[np.int8]
    group: NDArray[np.int64]
    fold: NDArray[np.int64]
    lead: NDArray[np.int64]
    clean: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All windows of the parts."""
        names = [f.name for f in fields(cls)]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})

    def inputs(self, rows: NDArray[np.int64]) -> AfInputs:
        """What the network reads of some windows."""
        n_beats = self.n_beats[rows]
        first = (np.cumsum(self.n_beats) - self.n_beats)[rows]
        column = np.arange(n_beats.max(initial=1))
        present = column < n_beats[:, None]
        source = np.where(present, first[:, None] + column, 0)
        return AfInputs(
            segments=self.segments[source].astype(np.float32) * present[..., None],
            rhythm=self.rhythm[source] * present[..., None],
            window=self.window[rows],
            present=present,
        )


@dataclass(frozen=True, eq=False)
class _Window:
    trace_mv: Array
    labels: tuple[int, int]
    group: int
    fold: int = 0
    lead: int = -1
    clean: bool = True


def ptbxl_examples(data: PtbXl, noise_mv: Array | None, seed: int = 0) -> Examples:
    """Leads I and II of every ECG; with `noise_mv`, a third lead and a noisy one besides."""
    return _examples(_ptbxl_windows(data, noise_mv, np.random.default_rng(seed)))


def mitdb_examples(folder: Path) -> Examples:
    """Both leads of DS1; windows in which AF begins or ends are left out.

    Raises:
        DatasetError: `dataset-missing`.
    """
    return _examples(w for record in DS1 for w in _mitdb_windows(folder / record))


def read_noise(folder: Path) -> Array:
    """The three noise recordings, two leads each, `(6, n_samples)` at RATE_HZ without baseline.

    Raises:
        DatasetError: `dataset-missing`.
    """
    return np.concatenate([_traces(folder / name) for name in NOISE_RECORDS])


def labels_of(data: PtbXl) -> NDArray[np.int8]:
    """AF and other, `(n, 2)`; AF with ectopy or block counts as AF alone."""
    names = np.array(data.statement_names)
    af = data.statements[:, np.isin(names, list(AF_STATEMENTS))].any(axis=1)
    other = data.statements[:, np.isin(names, list(OTHER_STATEMENTS))].any(axis=1)
    return np.stack([af, other & ~af], axis=1).astype(np.int8)


def with_noise(trace_mv: Array, noise_mv: Array, snr_db: float, rng: np.random.Generator) -> Array:
    """Add a stretch of one noise lead, at a power `snr_db` below the trace's."""
    row = noise_mv[rng.integers(len(noise_mv))]
    start = int(rng.integers(len(row) - len(trace_mv)))
    noise = row[start : start + len(trace_mv)]
    scale = np.sqrt(np.mean(trace_mv**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    noisy: Array = (trace_mv + scale * noise).astype(np.float32)
    return noisy


def read_record(path: Path) -> tuple[Array, tuple[str, ...], float]:
    """Millivolts `(n_leads, n_samples)`, names of leads, and rate of one WFDB record.

    Raises:
        DatasetError: `dataset-missing`.
    """
    header = _header(path)
    voltage_mv = wfdb.rdrecord(str(path)).p_signal.T.astype(np.float32)
    return voltage_mv, tuple(header.sig_name), float(header.fs)


def rhythm_seconds(path: Path) -> list[tuple[float, float, str]]:
    """Rhythms of one MIT-BIH record as (start_s, end_s, annotation).

    Raises:
        DatasetError: `dataset-missing`.
    """
    header, annotation = _header(path), wfdb.rdann(str(path), "atr")
    marks = [
        (int(at), note.rstrip("\x00"))
        for at, note in zip(annotation.sample, annotation.aux_note, strict=True)
        if note.startswith("(")
    ]
    ends = [at for at, _ in marks[1:]] + [header.sig_len]
    return [
        (at / header.fs, end / header.fs, note) for (at, note), end in zip(marks, ends, strict=True)
    ]


def af_share(rhythms: list[tuple[float, float, str]], start_s: float, end_s: float) -> float:
    """Share of a stretch that is annotated as AF."""
    overlaps = [
        max(0.0, min(end, end_s) - max(start, start_s))
        for start, end, note in rhythms
        if note in AF_RHYTHMS
    ]
    return sum(overlaps) / (end_s - start_s)


def _ptbxl_windows(
    data: PtbXl, noise_mv: Array | None, rng: np.random.Generator
) -> Iterator[_Window]:
    labels = labels_of(data)
    for row in range(len(data.ecg_id)):
        voltage_mv = remove_baseline(millivolts(data.voltage_uv[row]))
        said = (int(labels[row, 0]), int(labels[row, 1]))
        group, fold = int(data.patient_id[row]), int(data.fold[row])
        leads = [0, 1]
        if noise_mv is not None:
            leads.append(int(rng.integers(2, len(LEADS_12))))
            lead = int(rng.integers(2))
            noisy = with_noise(voltage_mv[lead], noise_mv, rng.uniform(*_NOISE_SNR_DB), rng)
            yield _Window(_cropped(noisy, rng), said, group, fold, lead, clean=False)
        for lead in leads:
            yield _Window(voltage_mv[lead], said, group, fold, lead)


def _cropped(trace_mv: Array, rng: np.random.Generator) -> Array:
    if rng.random() >= _CROPPED_SHARE:
        return trace_mv
    length = int(rng.integers(round(_SHORTEST_S * RATE_HZ), len(trace_mv)))
    start = int(rng.integers(len(trace_mv) - length))
    return trace_mv[start : start + length]


def _mitdb_windows(path: Path) -> Iterator[_Window]:
    rhythms = rhythm_seconds(path)
    for trace_mv in _traces(path):
        for start, end in window_bounds(len(trace_mv)):
            share = af_share(rhythms, start / RATE_HZ, end / RATE_HZ)
            if share in {0.0, 1.0}:
                yield _Window(trace_mv[start:end], (int(share), _UNKNOWN), int(path.name))


def _header(path: Path) -> wfdb.Record:
    try:
        return wfdb.rdheader(str(path))
    except OSError as error:
        raise DatasetError("dataset-missing", f"record {path.name} cannot be read") from error


def _traces(path: Path) -> Array:
    voltage_mv, _, rate_hz = read_record(path)
    return remove_baseline(resample(voltage_mv, rate_hz))


def _examples(windows: Iterator[_Window]) -> Examples:
    kept, parts = [], []
    for window in windows:
        found = detect_r_peaks(window.trace_mv[None], float(RATE_HZ))
        peaks = np.round(found).astype(np.int64)[:MAX_BEATS]
        if len(peaks) >= MIN_BEATS:
            kept.append(window)
            parts.append(window_inputs(window.trace_mv, peaks))
    return Examples(
        segments=np.concatenate([p.segments[0] for p in parts]).astype(np.float16),
        rhythm=np.concatenate([p.rhythm[0] for p in parts]),
        window=np.concatenate([p.window for p in parts]),
        n_beats=np.array([p.present.shape[1] for p in parts]),
        labels=np.array([w.labels for w in kept], np.int8),
        group=np.array([w.group for w in kept]),
        fold=np.array([w.fold for w in kept]),
        lead=np.array([w.lead for w in kept]),
        clean=np.array([w.clean for w in kept]),
    )
