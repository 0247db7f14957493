"""Does the resting network decide by what its attention shows?

Deletion (Petsiuk et al., BMVC 2018): of ECGs that have a type and are flagged for it, the steps
with the most attention are taken away in all leads, and so are random stretches of the same
lengths. The figure is the drop of the type's probability for the one over the drop for the other.
The variant `masked`, where the network is told that it cannot see the region, is the figure; that
was settled before any was measured. Beside it, `bridged` draws a line across and `template` puts
the patient's own median beat in place. A second control takes, of many random regions, those
nearest to the attended one in slope, that is in QRS content.

Weight randomisation (Adebayo et al., NeurIPS 2018): maps of networks whose layers are drawn anew,
from the attention downwards, against the trained one's; two different ECGs' maps are the floor.

    python -m model.faithfulness --model-path BUNDLE --data-path DIR --json OUT
"""

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import nn

from model.anomaly import AFTER, BEFORE, beat_positions
from model.datasets import ptbxl
from model.datasets.cases import YES
from model.datasets.ptbxl import TYPES, PtbXl
from model.datasets.ptbxl_cases import from_arrays
from model.detector import Detector, prepared_for
from model.findings import ABNORMALITY_TYPES
from model.metrics import Rows, bootstrap
from model.resting.card import SHIPPED, load_resting
from model.resting.network import RestingNetwork
from model.resting.reference import trained_network
from model.resting.settings import STRIDE
from model.scoring import Plan, Scored, score_cases
from model.signal import Prepared

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Json = dict[str, Any]

FOLDS = (9,)
SHARES = (0.1, 0.2)
N_RANDOM, N_CANDIDATES = 5, 60
ATTENDED, RANDOM, MATCHED = "attended", "random", "matched"
CASCADE = ("attention", "lstm", "blocks", "stem")  # all that a map depends on, from the top
N_NETWORKS = 3

_log = logging.getLogger("model.faithfulness")


@dataclass(frozen=True, eq=False)
class Drops:
    """What deletion took from a type, one row an ECG.

    Attributes:
        patient_id: `(n,)`.
        probability: region -> `(n,)`, before minus after, mean over the regions of that kind.
        logit: likewise.
    """

    patient_id: NDArray[np.int64]
    probability: dict[str, Floats]
    logit: dict[str, Floats]


def strongest(attention: Array, share: float) -> Mask:
    """Mark the `share` of the steps `(S,)` with the most attention."""
    region = np.zeros(len(attention), np.bool_)
    region[np.argsort(-attention, kind="stable")[: round(share * len(attention))]] = True
    return region


def elsewhere(region: Mask, generator: np.random.Generator) -> Mask:
    """Put the runs of a region `(S,)` at random places, in random order, none touching another."""
    edges = np.flatnonzero(np.diff(region, prepend=False, append=False))
    lengths = generator.permutation(edges[1::2] - edges[::2])
    free = len(region) - lengths.sum()
    gaps = np.sort(generator.choice(free + 1, len(lengths), replace=False))
    placed = np.zeros_like(region)
    for start, length in zip(gaps + np.cumsum(lengths) - lengths, lengths, strict=True):
        placed[start : start + length] = True
    return placed


def slope_of_steps(voltage_mv: Array) -> Floats:
    """Absolute slope of all leads of `(12, T)` in each step, `(S,)`: high in a QRS."""
    slope = np.abs(np.diff(voltage_mv, axis=1, prepend=voltage_mv[:, :1])).sum(axis=0)
    steps: Floats = slope.reshape(-1, STRIDE).sum(axis=1).astype(np.float64)
    return steps


def regions(attention: Array, slope: Floats, share: float, seed: int) -> dict[str, list[Mask]]:
    """The attended region, random ones, and the random ones nearest to it in slope."""
    generator = np.random.default_rng(seed)
    attended = strongest(attention, share)
    drawn = [elsewhere(attended, generator) for _ in range(N_CANDIDATES)]
    near = sorted(drawn, key=lambda region: abs(float(slope[region].sum() - slope[attended].sum())))
    return {ATTENDED: [attended], RANDOM: drawn[:N_RANDOM], MATCHED: near[:N_RANDOM]}


def masked(ecg: Prepared, region: Mask) -> Prepared:
    """Tell the network that it cannot see the region `(S,)`."""
    shown = ecg.visible & ~np.repeat(region, STRIDE)
    return Prepared(np.where(shown, ecg.voltage_mv, np.float32(0)), shown)


def bridged(ecg: Prepared, region: Mask) -> Prepared:
    """Draw a line from the sample before the region to the one after."""
    gone = np.repeat(region, STRIDE)
    kept, lost = np.flatnonzero(~gone), np.flatnonzero(gone)
    voltage = ecg.voltage_mv.copy()
    for lead in voltage:
        lead[lost] = np.interp(lost, kept, lead[kept])
    return Prepared(voltage, ecg.visible)


def templated(ecg: Prepared, region: Mask) -> Prepared:
    """Put the patient's median beat where beats were found, zero where none was."""
    beats = beat_positions(ecg.voltage_mv)
    window = beats[:, None] + np.arange(-BEFORE, AFTER)
    median, usual = np.median(ecg.voltage_mv[:, window], axis=1), np.zeros_like(ecg.voltage_mv)
    for beat in beats:
        usual[:, beat - BEFORE : beat + AFTER] = median
    gone = np.repeat(region, STRIDE) & ecg.visible
    return Prepared(np.where(gone, usual, ecg.voltage_mv), ecg.visible)


DELETIONS: dict[str, Callable[[Prepared, Mask], Prepared]] = {
    "masked": masked,
    "bridged": bridged,
    "template": templated,
}


def flagged_rows(detector: Detector, scored: Scored, code: str, most: int, seed: int = 0) -> Rows:
    """Rows that have the type and are flagged for it; a sample where there are more than `most`."""
    k, point = TYPES.index(code), detector.card.operating_point
    threshold = detector.card.type_calibration[code].operating_points[point].threshold
    has_it = scored.cases.types[:, k] == YES
    rows = np.flatnonzero(has_it & (scored.opinion.types[:, k] >= threshold))
    chosen = np.random.default_rng(seed).permutation(rows)[:most]
    return np.sort(chosen)


def prepared_rows(scored: Scored, rows: Rows) -> list[Prepared]:
    """What the network saw of them."""
    return [prepared_for(scored.cases.ecg(int(r)), scored.quality[r]) for r in rows]


def deletion(
    detector: Detector, ecgs: Sequence[Prepared], patients: NDArray[np.int64], code: str
) -> dict[str, Drops]:
    """Delete from every ECG; `variant share` -> drops."""
    found = [_drops(detector, ecg, code, seed) for seed, ecg in enumerate(ecgs)]
    kinds = (ATTENDED, RANDOM, MATCHED)
    return {
        name: Drops(
            patients,
            *(
                {kind: np.array([f[name][kind][i] for f in found]) for kind in kinds}
                for i in (0, 1)
            ),
        )
        for name in (found[0] if found else ())
    }


def _drops(
    detector: Detector, ecg: Prepared, code: str, seed: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """`variant share` -> kind of region -> mean drop of probability and of logit."""
    k, platt = TYPES.index(code), detector.card.type_calibration[code].platt
    whole = detector.measure([ecg])
    attention, slope = whole.attention[0, k], slope_of_steps(ecg.voltage_mv)
    keys, pieces = [], [ecg]
    for share in SHARES:
        for kind, places in regions(attention, slope, share, seed).items():
            for name, delete in DELETIONS.items():
                pieces += [delete(ecg, place) for place in places]
                keys += [(f"{name} {share:.0%}", kind)] * len(places)
    logits = detector.measure(pieces).type_logits[:, k : k + 1].astype(np.float64)
    after = np.stack([platt(logits), logits[:, 0]], axis=1)
    lost: dict[str, dict[str, tuple[float, float]]] = {}
    for name, kind in dict.fromkeys(keys):
        mine = [i for i, key in enumerate(keys, start=1) if key == (name, kind)]
        probability, logit = (after[0] - after[mine]).mean(axis=0)
        lost.setdefault(name, {})[kind] = (float(probability), float(logit))
    return lost


def deletion_report(drops: Drops) -> Json:
    """Mean drops, and the attended region's over each control's; intervals over patients."""
    report: Json = {"ecgs": len(drops.patient_id)}
    for unit, drop in (("probability", drops.probability), ("logit", drops.logit)):
        report[unit] = {kind: _mean(drops, values) for kind, values in drop.items()}
        for control in (RANDOM, MATCHED):
            report[unit][f"ratio to {control}"] = _ratio(drops, drop[ATTENDED], drop[control])
    return report


def pooled(drops: Sequence[Drops]) -> Drops:
    """All types' ECGs as rows of one table; a patient's stay together."""

    def joined(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
        return {kind: np.concatenate([part[kind] for part in parts]) for kind in parts[0]}

    return Drops(
        np.concatenate([d.patient_id for d in drops]),
        joined([d.probability for d in drops]),
        joined([d.logit for d in drops]),
    )


def _mean(drops: Drops, values: Floats) -> Json:
    return asdict(bootstrap(drops.patient_id, lambda rows: float(values[rows].mean())))


def _ratio(drops: Drops, attended: Floats, control: Floats) -> Json | None:
    """None where the control's mean drop is not clearly above 0: a ratio would mean nothing."""
    if _mean(drops, control)["low"] <= 0:
        return None
    return asdict(
        bootstrap(drops.patient_id, lambda r: float(attended[r].mean() / control[r].mean()))
    )


def randomised(network: RestingNetwork, layers: Sequence[str]) -> RestingNetwork:
    """Draw the weights of some layers anew, in place, as at the start of a training.

    Batch norms keep their running moments: the activations' scale is not what is tested.
    """
    for name in layers:
        for module in network.get_submodule(name).modules():
            if isinstance(module, nn.Conv1d | nn.Linear | nn.LSTM):
                module.reset_parameters()
    return network


@torch.inference_mode()
def maps(network: RestingNetwork, ecgs: Sequence[Prepared]) -> Array:
    """Attention `(n, 6, S)`."""
    parts = []
    for start in range(0, len(ecgs), 32):
        batch = ecgs[start : start + 32]
        voltage = torch.from_numpy(np.stack([e.voltage_mv for e in batch]))
        visible = torch.from_numpy(np.stack([e.visible for e in batch]))
        parts.append(network(voltage, visible).attention.numpy())
    return np.concatenate(parts)


def rank_correlation(one: Array, other: Array) -> Floats:
    """Spearman's rho of maps `(n, S)`, row by row; 0 where a map is constant."""
    a, b = (rankdata(x, axis=1) - (x.shape[1] + 1) / 2 for x in (one, other))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    rho: Floats = (a * b).sum(axis=1) / np.maximum(size, 1e-12)
    return rho


def randomisation_report(
    fresh: Callable[[], RestingNetwork], ecgs: dict[str, list[Prepared]], data: dict[str, PtbXl]
) -> Json:
    """Correlation of each type's maps with those of networks drawn anew, layer after layer."""
    patients = np.concatenate([data[code].patient_id for code in ecgs])
    everyone = [ecg for code in ecgs for ecg in ecgs[code]]
    own = np.concatenate([np.full(len(ecgs[code]), TYPES.index(code)) for code in ecgs])
    here = np.arange(len(own))
    trained = maps(fresh(), everyone)[here, own]
    stages = {"two different ECGs": [rank_correlation(trained, _of_next(trained, own))]}
    for seed in range(N_NETWORKS):
        torch.manual_seed(seed)
        network = fresh()
        for depth, layer in enumerate(CASCADE, start=1):
            found = maps(randomised(network, [layer]), everyone)[here, own]
            stages.setdefault(" + ".join(CASCADE[:depth]), []).append(
                rank_correlation(trained, found)
            )
    return {name: _correlations(np.array(rho), own, patients) for name, rho in stages.items()}


def _of_next(trained: Array, own: NDArray[np.int64]) -> Array:
    """Each ECG's map replaced by that of the next ECG with the same type."""
    rolled = [np.roll(trained[own == k], 1, axis=0) for k in dict.fromkeys(own.tolist())]
    return np.concatenate(rolled)


def _correlations(rho: Floats, own: NDArray[np.int64], patients: NDArray[np.int64]) -> Json:
    """Mean with interval, and of absolute values: a map turned over is not destroyed."""
    mean, size = rho.mean(axis=0), np.abs(rho).mean(axis=0)
    return {
        "spearman": asdict(bootstrap(patients, lambda r: float(mean[r].mean()))),
        "absolute": asdict(bootstrap(patients, lambda r: float(size[r].mean()))),
        "by_type": {TYPES[k]: float(mean[own == k].mean()) for k in dict.fromkeys(own.tolist())},
        "by_network": rho.mean(axis=1).tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Delete, randomise, write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model-path", type=Path, default=SHIPPED, help="bundle folder")
    parser.add_argument("--data-path", type=Path, required=True, help="PTB-XL folder")
    parser.add_argument("--cache", type=Path, help="keeps the samples for the next run")
    parser.add_argument("--ecgs", type=int, default=150, help="at most, of each type")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    bundle = load_resting(options.model_path)
    detector = Detector(bundle)
    fold = ptbxl.load(options.data_path, FOLDS, options.cache)
    scored = score_cases(detector, Plan(from_arrays(fold), {}, frozenset()))
    rows = {
        code: found
        for code in ABNORMALITY_TYPES
        if len(found := flagged_rows(detector, scored, code, options.ecgs))
    }
    ecgs = {code: prepared_rows(scored, found) for code, found in rows.items()}
    data = {code: fold.rows(found) for code, found in rows.items()}
    drops = {}
    for code, pieces in ecgs.items():
        drops[code] = deletion(detector, pieces, data[code].patient_id, code)
        _log.info("%s: %d ECGs", code, len(pieces))
    content = {
        "command": "python -m model.faithfulness --model-path BUNDLE --data-path DIR"
        f" --ecgs {options.ecgs}",
        "model_sha256": detector.identity.sha256,
        "data_sha256": fold.sha256(),
        "folds": FOLDS,
        "primary": "masked",
        "deletion": _deletions(drops),
        "weight_randomisation": randomisation_report(lambda: trained_network(bundle), ecgs, data),
    }
    _log.info("%s", json.dumps(content))
    if options.json is not None:
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _deletions(drops: dict[str, dict[str, Drops]]) -> Json:
    """`variant share` -> type, and all of them -> figures."""
    names = next(iter(drops.values()), {})
    return {
        name: {
            **{code: deletion_report(found[name]) for code, found in drops.items()},
            "all": deletion_report(pooled([found[name] for found in drops.values()])),
        }
        for name in names
    }


if __name__ == "__main__":
    main()
