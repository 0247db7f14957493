"""Five folds over the patients of DS1: every beat judged by networks that never saw its patient.

    python -m model.strip.cross_validation --data-path DIR --run-dir RUN [--folds 0 2 4]

trains and keeps each fold's answers under RUN; folds may run beside each other. DIR holds `mitdb`,
`nstdb` and `ptbxl100`. `model.strip.cross_validated` makes the report.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from model.beats import detect_r_peaks
from model.datasets.mitbih import BeatRecord, load_ds1
from model.strip.batches import Strips
from model.strip.inputs import BeatInputs, beat_inputs
from model.strip.localising import deletion, strip_attention
from model.strip.network import BeatNetwork
from model.strip.normals import PlainAutoencoder, errors, train_plain, train_restorer
from model.strip.reading import read_beats
from model.strip.reference import Ensemble
from model.strip.restoration import Restorer
from model.strip.settings import Dimensions, Settings
from model.strip.teachers import annotated, edited_records, load_strips, unit_noise
from model.strip.training import Teachers, train

N_FOLDS = 5
SEEDS = (0, 1, 2)
SEED, WEAK, RESTORER, PLAIN, UNTRAINED = "seed", "weak", "restorer", "plain", "untrained"
WEAK_SETTINGS = Settings(epochs=10, edited=0, strips=0, beat_weight=0.0, ectopy_weight=1.0)

Rows = NDArray[np.int64]
NetT = TypeVar("NetT", bound=nn.Module)
Kept = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Sources:
    """Everything that folds share."""

    records: list[BeatRecord]
    strips: Strips
    noise: torch.Tensor


def folds_of(records: Sequence[BeatRecord]) -> list[list[int]]:
    """Indices of the records of each fold, one patient in one fold.

    Patients are dealt out to and fro in the order of how many S, then V beats they have, so that
    every fold gets some of either.
    """
    counts: dict[str, NDArray[np.int64]] = {}
    for record in records:
        count = np.bincount(record.classes, minlength=5)
        counts[record.patient] = counts.get(record.patient, np.zeros(5, np.int64)) + count
    order = sorted(counts, key=lambda p: (-counts[p][1], -counts[p][2], p))
    fold = {
        p: min(k % (2 * N_FOLDS), 2 * N_FOLDS - 1 - k % (2 * N_FOLDS)) for k, p in enumerate(order)
    }
    return [[i for i, r in enumerate(records) if fold[r.patient] == k] for k in range(N_FOLDS)]


def load_sources(data_path: Path, cache: Path | None) -> Sources:
    """Read everything, minutes the first time.

    Raises:
        DatasetError: something is not there.
    """
    return Sources(
        load_ds1(data_path / "mitdb"),
        load_strips(data_path / "ptbxl100", cache),
        unit_noise(data_path / "nstdb"),
    )


def parts_of(seeds: Sequence[int]) -> tuple[str, ...]:
    """Names of what is trained in each fold."""
    return (*(f"{SEED}{seed}" for seed in seeds), WEAK, RESTORER, PLAIN)


def train_part(sources: Sources, fold: int, part: str, settings: Settings) -> nn.Module:
    """Train one network on the records outside a fold; `settings` are those of a seed's."""
    held_out = folds_of(sources.records)[fold]
    teaching = [r for i, r in enumerate(sources.records) if i not in held_out]
    beats = annotated(teaching)
    if part == RESTORER:
        return train_restorer(beats, seed=0)
    if part == PLAIN:
        return train_plain(beats, seed=0)
    if part == WEAK:
        return train(Teachers(beats, None, None, sources.noise), WEAK_SETTINGS)
    teachers = Teachers(beats, edited_records(teaching), sources.strips, sources.noise)
    return train(teachers, settings)


def run_part(
    sources: Sources, fold: int, part: str, run_dir: Path, settings: Settings | None = None
) -> None:
    """Train one network and keep its weights, unless they are there.

    The usual settings are taken where none are given, with the seed of the part's name.
    """
    path = run_dir / f"{fold}-{part}.safetensors"
    if not path.exists():
        run_dir.mkdir(parents=True, exist_ok=True)
        if settings is None:
            seed = int(part.removeprefix(SEED)) if part.startswith(SEED) else 0
            settings = replace(Settings(), seed=seed)
        network = train_part(sources, fold, part, settings)
        unfinished = path.with_suffix(".part")
        save_file(network.state_dict(), unfinished)
        unfinished.replace(path)


def judge_fold(records: Sequence[BeatRecord], fold: int, run_dir: Path) -> None:
    """Keep what a fold's networks, as many as there are, say of its records."""
    restorer = _load(Restorer(), run_dir / f"{fold}-{RESTORER}.safetensors")
    networks = _networks(fold, run_dir)
    ensembles = {name: Ensemble([n], restorer).eval() for name, n in networks.items()}
    seeds = {name: one for name, one in ensembles.items() if name.startswith(SEED)}
    first = min(seeds)
    localised = {n: one for n, one in ensembles.items() if n == first or n not in seeds}
    for i in folds_of(records)[fold]:
        record = records[i]
        detected = detect_r_peaks(record.voltage_mv, record.sampling_rate_hz)
        for peaks, kind in ((record.r_peaks, "annotated"), (detected, "detected")):
            inputs = inputs_of(record, peaks)
            kept = {"fold": np.array(fold), "peaks": peaks, **_judged(seeds, inputs)}
            if kind == "annotated":
                kept |= _localised(localised, inputs) | _plain(fold, inputs, run_dir)
            np.savez(run_dir / f"{record.name}-{kind}.npz", allow_pickle=False, **kept)


def _networks(fold: int, run_dir: Path) -> dict[str, BeatNetwork]:
    """A fold's networks by part; one that was never trained is among them."""
    torch.manual_seed(0)
    networks = {UNTRAINED: BeatNetwork(Dimensions())}
    for path in sorted(run_dir.glob(f"{fold}-*.safetensors")):
        part = path.stem.removeprefix(f"{fold}-")
        if part not in (RESTORER, PLAIN):
            networks[part] = _load(BeatNetwork(Dimensions()), path)
    return networks


def _plain(fold: int, inputs: BeatInputs, run_dir: Path) -> Kept:
    """The baseline's errors, where it was trained."""
    path = run_dir / f"{fold}-{PLAIN}.safetensors"
    return {PLAIN: errors(_load(PlainAutoencoder(), path), inputs)} if path.exists() else {}


def _load(module: NetT, path: Path) -> NetT:
    module.load_state_dict(load_file(path))
    return module.eval()


def inputs_of(record: BeatRecord, peaks: Rows) -> BeatInputs:
    """A record's beats at some R peaks."""
    return beat_inputs(record.voltage_mv, record.sampling_rate_hz, peaks / record.sampling_rate_hz)


def _judged(ensembles: dict[str, Ensemble], inputs: BeatInputs) -> Kept:
    """Each ensemble's word on every beat, and what the baselines need."""
    said = {name: read_beats(ensemble.measure, inputs) for name, ensemble in ensembles.items()}
    rest = np.sqrt(np.mean(np.square(inputs.shapes[:, :, 1]), axis=2))
    return {
        "rhythm": inputs.rhythm,
        "rest": rest,
        **{f"{name}_log_probabilities": one.log_probabilities for name, one in said.items()},
        **{f"{name}_errors": one.errors for name, one in said.items()},
    }


def _localised(ensembles: dict[str, Ensemble], inputs: BeatInputs) -> Kept:
    """Each ensemble's attention in strips, and what that of the weakly labelled one is worth."""
    kept: Kept = {}
    for name, ensemble in ensembles.items():
        attention = strip_attention(ensemble.measure, inputs)
        kept[f"{name}_attention"] = attention
        if name == WEAK:
            kept[f"{name}_falls"] = deletion(ensemble.measure, inputs, attention)
    return kept


def main(arguments: Sequence[str] | None = None) -> None:
    """Train some folds."""
    parser = argparse.ArgumentParser(description="Cross-validate the beat network on DS1.")
    parser.add_argument("--data-path", type=Path, required=True, help="mitdb, nstdb, ptbxl100")
    parser.add_argument("--run-dir", type=Path, required=True, help="receives the answers")
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(N_FOLDS)))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--cache", type=Path, help="keeps PTB-XL's samples in one file")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sources = load_sources(chosen.data_path, chosen.cache)
    for part in parts_of(chosen.seeds):
        for fold in chosen.folds:
            run_part(sources, fold, part, chosen.run_dir)
    for fold in chosen.folds:
        judge_fold(sources.records, fold, chosen.run_dir)


if __name__ == "__main__":
    main()
