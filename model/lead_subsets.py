"""How much is lost when fewer leads are sent.

The sets of 6, 4, 3 and 2 leads are those of the PhysioNet challenge 2021. Its six limb leads carry
two independent signals only, so six that are spread over both planes stand beside them.
"""

from typing import Any

import numpy as np

from model import metrics
from model.datasets.cases import YES
from model.datasets.ptbxl import TYPES
from model.detector import Detector
from model.ecg import LEADS_12, LIMB_LEADS
from model.figures import known, macro_auroc, macro_loss, rounded
from model.findings import ABNORMALITY_TYPES
from model.scoring import Scored

LEAD_SETS = {
    "12": LEADS_12,
    "6": LIMB_LEADS,
    "6-spread": ("I", "II", "V1", "V2", "V4", "V6"),
    "4": ("I", "II", "III", "V2"),
    "3": ("I", "II", "V2"),
    "2": ("I", "II"),
    "1": ("I",),
    "1-II": ("II",),
}
# More say no more, and each costs as much as the whole ECG once more.
MAX_ECGS = 3_000


def lead_subsets(detector: Detector, scored: Scored, point: str) -> dict[str, Any]:
    """Figures of each set of leads, and the loss against all leads on the same ECGs."""
    return {
        name: _of_set(detector, scored, name, leads, point)
        for name, leads in LEAD_SETS.items()
        if name in scored.subsets or name == "12"
    }


def _of_set(
    detector: Detector, scored: Scored, name: str, leads: tuple[str, ...], point: str
) -> dict[str, Any]:
    tried = scored.rows(scored.in_subsets)
    with_all = tried.opinion.types
    with_some = with_all if name == "12" else tried.subsets[name].types
    both = ~np.isnan(with_all[:, 0]) & ~np.isnan(with_some[:, 0])
    cases, here, there = tried.cases.rows(both), with_some[both], with_all[both]
    if not len(cases):
        return {"leads": leads, "ecgs": 0, "not_scorable": len(tried.quality)}
    return {
        "leads": leads,
        "ecgs": len(cases),
        "not_scorable": int((~both).sum()),
        "macro_auroc_types": macro_auroc(cases, here, ABNORMALITY_TYPES),
        "loss_against_12": macro_loss(cases, here, there),
        "auroc": {
            code: metrics.auroc(cases.types[rows, k] == YES, here[rows, k])
            for k, code in enumerate(TYPES)
            for rows in [known(cases.types[:, k])]
        },
        "withheld": sorted(detector.card.withheld(leads)),
        "at_point": {
            code: rounded(
                metrics.at_threshold(
                    cases.types[rows, k] == YES,
                    here[rows, k],
                    detector.card.type_calibration[code].operating_points[point].threshold,
                )
            )
            for k, code in enumerate(TYPES)
            for rows in [known(cases.types[:, k])]
        },
    }
