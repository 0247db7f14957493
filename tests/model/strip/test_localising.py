import numpy as np
import pytest

from model.strip.cross_validation import inputs_of
from model.strip.localising import DELETED, deletion, localisation, strip_attention
from model.strip.release import ensemble_of
from model.strip.settings import SEQUENCE
from tests.beat_records import beat_record


def test_attention_on_ectopy_scores_one_and_elsewhere_chance():
    classes = np.zeros(3 * SEQUENCE, np.int64)
    classes[[5, SEQUENCE + 3, SEQUENCE + 9]] = [1, 2, 3]  # the third strip is normal
    truth = classes.reshape(3, SEQUENCE)
    right = localisation([classes], [truth + 1e-3], ["a"])
    assert right["strips_with_ectopy"] == 2
    assert right["pointing_game"]["value"] == 1
    assert right["chance"] == pytest.approx(1.5 / SEQUENCE)
    assert right["beat_auroc_within_strips"]["value"] > 0.97
    wrong = localisation([classes], [-1.0 * truth], ["a"])
    assert wrong["pointing_game"]["value"] == 0


def test_deleting_what_is_attended_costs_more_than_deleting_at_random(strip_bundle):
    record = beat_record(seed=60, n_beats=4 * SEQUENCE + 7)
    inputs = inputs_of(record, record.r_peaks)
    measure = ensemble_of(strip_bundle).measure
    attention = strip_attention(measure, inputs)
    assert attention.shape == (4, SEQUENCE)
    np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-4)
    falls = deletion(measure, inputs, attention)
    assert falls.shape == (4, len(DELETED), 2)
    assert falls[:, -1, 0].mean() > falls[:, -1, 1].mean()
    figures = localisation([record.classes], [attention], ["a"], [falls])
    assert set(figures["fall_of_log_odds_by_beats_replaced"]) == {str(k) for k in DELETED}
