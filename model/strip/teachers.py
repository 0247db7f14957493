"""What the beat network learns from: DS1 as it is and edited, PTB-XL's strips, recorded noise.

PTB-XL's folds 1-8 name strips with premature beats, not the beats. Strips whose statements leave
open what their premature beats are, or what paces them, are left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.beats import detect_r_peaks
from model.datasets import ptbxl
from model.datasets.mitbih import BeatRecord
from model.datasets.ptbxl import PtbXl, millivolts
from model.ecg import LEADS_12
from model.signal import RATE_HZ
from model.strip.af_examples import read_noise
from model.strip.batches import UNKNOWN, Annotated, Strips
from model.strip.edited import edited
from model.strip.inputs import BLOCK_S, BeatInputs, beat_inputs
from model.strip.settings import SEQUENCE

WEAK_FOLDS = tuple(range(1, 9))
LONG_BLOCK_S = 900.0  # another view of the same beats: another template
N_EDITS = 2  # of every regular recording

_ATRIAL, _VENTRICULAR = ("PAC",), ("PVC",)
_FIBRILLATION = ("AFIB", "AFLT")
_TELLING = (*_ATRIAL, *_VENTRICULAR, *_FIBRILLATION, "SARRH", "SVARR", "2AVB", "3AVB", "WPW")
_UNSURE = ("PACE", "PRC(S)", "SVTAC", "PSVT")
_PATTERN = ("BIGU", "TRIGU")  # of either kind
_N_OTHERS = 3_500
_LEADS = ("I", "II", "V1", "V5")
_MIN_BEATS, _MAX_BEATS = 4, 24
_MAX_NOISE = 5.0  # of its spread


def annotated(records: Sequence[BeatRecord]) -> Annotated:
    """Records in two views, with templates of shorter and longer stretches."""
    views = [[_inputs(r, block_s) for r in records] for block_s in (BLOCK_S, LONG_BLOCK_S)]
    return _joined(records, views)


def edited_records(records: Sequence[BeatRecord], seed: int = 0) -> Annotated:
    """N_EDITS edits of each regular record, in one view."""
    made = [
        edit
        for k in range(N_EDITS)
        for i, record in enumerate(records)
        if (edit := edited(record, np.random.default_rng([seed, k, i]))) is not None
    ]
    return _joined(made, [[_inputs(record, BLOCK_S) for record in made]])


def unit_noise(folder: Path) -> torch.Tensor:
    """The noise recordings, `(6, n_samples)` at RATE_HZ without baseline, of unit spread.

    Raises:
        DatasetError: `dataset-missing`.
    """
    traces_mv = read_noise(folder)
    unit = traces_mv / traces_mv.std(axis=1, keepdims=True)
    return torch.from_numpy(np.clip(unit, -_MAX_NOISE, _MAX_NOISE))


def weak_strips(data: PtbXl, seed: int = 0) -> Strips:
    """Strips of PTB-XL in four leads; all that are telling, and some of the others."""
    has = _Statements(data)
    unsure = has.any_of(_UNSURE) | (has.any_of(_PATTERN) & ~has.any_of((*_ATRIAL, *_VENTRICULAR)))
    telling = has.any_of(_TELLING) & ~unsure
    others = np.random.default_rng(seed).permutation(np.flatnonzero(~telling & ~unsure))
    numbers = np.sort(np.r_[np.flatnonzero(telling), others[:_N_OTHERS]]).tolist()
    rows = [(row, inputs) for row in numbers if (inputs := _strip(data, row))]
    return _strips(has, rows)


class _Statements:
    """Which rows have which statements."""

    def __init__(self, data: PtbXl) -> None:
        self._data = data

    def any_of(self, names: Sequence[str]) -> NDArray[np.bool_]:
        wanted = np.isin(self._data.statement_names, names)
        return np.asarray(self._data.statements[:, wanted].any(axis=1), np.bool_)


def _strip(data: PtbXl, row: int) -> BeatInputs | None:
    voltage_mv = millivolts(data.voltage_uv[row])
    peaks = detect_r_peaks(voltage_mv, float(RATE_HZ))[:_MAX_BEATS]
    if len(peaks) < _MIN_BEATS:
        return None
    leads = [LEADS_12.index(lead) for lead in _LEADS]
    return beat_inputs(voltage_mv[leads], float(RATE_HZ), peaks / RATE_HZ)


def _strips(has: _Statements, rows: list[tuple[int, BeatInputs]]) -> Strips:
    index = np.array([row for row, _ in rows], np.int64)
    atrial, ventricular = has.any_of(_ATRIAL)[index], has.any_of(_VENTRICULAR)[index]
    open_question = has.any_of(("SVARR",))[index] & ~atrial
    labels = np.stack([np.where(open_question, UNKNOWN, atrial), ventricular], axis=1)
    group = np.select([atrial, ventricular, has.any_of(_FIBRILLATION)[index]], [0, 1, 2], 3)
    return Strips(
        shapes=_padded([inputs.shapes.astype(np.float16) for _, inputs in rows]),
        traits=_padded([inputs.traits for _, inputs in rows]),
        rhythm=_padded([inputs.rhythm for _, inputs in rows]),
        n_beats=torch.tensor([len(inputs.rhythm) for _, inputs in rows]),
        labels=torch.from_numpy(labels.astype(np.int64)),
        group=torch.from_numpy(group),
    )


def _padded(parts: list[NDArray[np.floating]]) -> torch.Tensor:
    padded = np.zeros((len(parts), SEQUENCE, *parts[0].shape[1:]), parts[0].dtype)
    for row, part in zip(padded, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(padded)


def _inputs(record: BeatRecord, block_s: float) -> BeatInputs:
    times_s = record.r_peaks / record.sampling_rate_hz
    return beat_inputs(record.voltage_mv, record.sampling_rate_hz, times_s, block_s)


def _joined(records: Sequence[BeatRecord], views: list[list[BeatInputs]]) -> Annotated:
    shapes = [np.concatenate([i.shapes.astype(np.float16) for i in view]) for view in views]
    traits = [np.concatenate([i.traits for i in view]) for view in views]
    return Annotated(
        shapes=torch.from_numpy(np.stack(shapes)),
        traits=torch.from_numpy(np.stack(traits)),
        rhythm=torch.from_numpy(np.concatenate([i.rhythm for i in views[0]])),
        classes=torch.from_numpy(np.concatenate([r.classes for r in records])),
        record=torch.from_numpy(
            np.repeat(np.arange(len(records)), [len(r.classes) for r in records])
        ),
    )


def load_strips(folder: Path, cache: Path | None) -> Strips:
    """Weak strips of folds 1-8 of a PTB-XL folder.

    Raises:
        DatasetError: as `ptbxl.load`.
    """
    return weak_strips(ptbxl.load(folder, WEAK_FOLDS, cache))
