"""Which findings a set of leads can carry, measured on the calibration patients.

What counts is how many independent signals of each plane there are: at most two of the limb leads,
and each chest lead. For every such pair several sets of leads are tried, and the worst one counts.
A type is withheld where its AUROC falls below MIN_AUROC; so is the anomaly score, and also where it
flags more normal ECGs than MAX_FALSE_POSITIVE_RATE, because its scale was made with twelve leads.

    python -m model.resting.support --model-path BUNDLE --data-path DIR

measures a bundle anew and writes the table into its card.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from model import metrics
from model.bundle import Bundle, save_bundle
from model.calibration import calibrates
from model.datasets import ptbxl
from model.datasets.ptbxl import TYPES, PtbXl, ecg_of
from model.detector import Detector
from model.ecg import CHEST_LEADS, LEADS_12, LIMB_LEADS
from model.resting.card import ANOMALY, LeadSupport, RestingBundle, load_resting
from model.signal import Prepared, prepare

_BATCH = 32
_ONE_LIMB_LEAD = (("I",), ("II",), ("III",))
_CHEST: dict[int, tuple[tuple[str, ...], ...]] = {
    0: ((),),
    1: (("V1",), ("V3",), ("V6",)),
    2: (("V1", "V5"), ("V2", "V3")),
    3: (("V1", "V3", "V5"), ("V1", "V2", "V3")),
    4: (("V1", "V2", "V4", "V5"), ("V3", "V4", "V5", "V6")),
    5: (CHEST_LEADS[:5], CHEST_LEADS[1:]),
    6: (CHEST_LEADS,),
}


def lead_sets() -> dict[str, list[tuple[str, ...]]]:
    """The sets that are tried, by the card's key."""
    tried: dict[str, list[tuple[str, ...]]] = {}
    for limb in (_ONE_LIMB_LEAD, (LIMB_LEADS,), ((),)):
        for chest in _CHEST.values():
            for i in range(max(len(limb), len(chest))):
                leads = (*limb[i % len(limb)], *chest[i % len(chest)])
                if leads:
                    tried.setdefault(LeadSupport.key(leads), []).append(leads)
    return tried


def with_support(bundle: RestingBundle, fitting: PtbXl) -> RestingBundle:
    """The same bundle with its table measured on these rows."""
    table = support_of(Detector(bundle), fitting, lead_sets())
    card = bundle.card.model_copy(update={"lead_support": table})
    return Bundle(card, bundle.tensors, bundle.graphs)


def support_of(
    detector: Detector, data: PtbXl, sets: Mapping[str, Iterable[tuple[str, ...]]]
) -> dict[str, LeadSupport]:
    """Try every set of leads, given by the card's key, on every row."""
    whole = [prepare(ecg_of(data, row)) for row in range(len(data.ecg_id))]
    support = {}
    for key, tried in sets.items():
        found = [_of_set(detector, data, whole, leads) for leads in tried]
        aurocs, alarms = zip(*found, strict=True)
        support[key] = LeadSupport(
            auroc={code: round(min(a[code] for a in aurocs), 4) for code in (*TYPES, ANOMALY)},
            anomaly_false_positive_rate=round(max(alarms), 4),
        )
    return support


def _of_set(
    detector: Detector, data: PtbXl, whole: Sequence[Prepared], leads: tuple[str, ...]
) -> tuple[dict[str, float], float]:
    """AUROC by type, and the anomaly score's false-positive rate; 0 and 1 where unmeasurable."""
    seen = np.isin(LEADS_12, leads)[:, None]
    types, unusual = [], []
    for start in range(0, len(whole), _BATCH):
        pieces = [
            Prepared(piece.voltage_mv * seen, piece.visible & seen)
            for piece in whole[start : start + _BATCH]
        ]
        opinion = detector.judge(detector.measure(pieces), pieces)
        types.append(opinion.types)
        unusual.append(opinion.anomaly)
    scores, anomaly = np.concatenate(types), np.concatenate(unusual)
    aurocs = {code: metrics.auroc(data.types[:, k], scores[:, k]) for k, code in enumerate(TYPES)}
    aurocs[ANOMALY] = metrics.auroc(~data.normal, anomaly)
    high = anomaly[data.normal] >= detector.card.anomaly.threshold
    alarms = float(high.mean()) if len(high) else 1.0
    return {code: 0.0 if np.isnan(a) else a for code, a in aurocs.items()}, alarms


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table into a bundle's card."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model-path", type=Path, required=True, help="bundle folder, rewritten")
    parser.add_argument("--data-path", type=Path, required=True, help="PTB-XL folder")
    parser.add_argument("--cache", type=Path, help="keeps the samples for the next run")
    options = parser.parse_args(arguments)
    bundle = load_resting(options.model_path)
    folds = bundle.card.origin.validation_folds
    data = ptbxl.load(options.data_path, folds, options.cache)
    fitting = data.rows(np.flatnonzero(calibrates(data.patient_id)))
    save_bundle(options.model_path, with_support(bundle, fitting))


if __name__ == "__main__":
    main()
