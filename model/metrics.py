"""Figures of merit, in numpy; every one takes labels as bool and scores as floats."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Labels = NDArray[np.bool_]
Scores = NDArray[np.float64]


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney); NaN when one class is absent."""
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    rank_sum = float(rankdata(scores)[labels].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def macro_auroc(labels: Labels, scores: Scores) -> float:
    """Mean of the columns' AUROC, `(n, k)` each; columns with one class only are left out."""
    each = [auroc(labels[:, k], scores[:, k]) for k in range(labels.shape[1])]
    return float(np.nanmean(each))
