import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import metrics

LABELS = np.array([0, 0, 1, 1], bool)
SCORES = np.array([0.1, 0.4, 0.35, 0.8])


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([0, 1], [0.0, 1.0], 1.0),
        ([1, 0], [0.0, 1.0], 0.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 1, 1], [0.3, 0.3, 0.9], 0.75),
    ],
)
def test_auroc_of_known_cases(labels, scores, expected):
    assert metrics.auroc(np.array(labels, bool), np.array(scores)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
@settings(max_examples=100)
def test_auroc_is_the_chance_that_a_positive_ranks_higher(cases):
    labels = np.array([label for label, _ in cases])
    scores = np.array([float(score) for _, score in cases])
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    value = metrics.auroc(labels, scores)
    assert np.isnan(value) if not pairs else value == pytest.approx(np.mean(pairs))


def test_macro_auroc_leaves_out_columns_with_one_class():
    labels = np.array([[0, 1], [1, 1]], bool)
    assert metrics.macro_auroc(labels, np.array([[0.1, 0.2], [0.9, 0.3]])) == 1.0
    assert np.isnan(metrics.macro_auroc(labels[:, 1:], np.zeros((2, 1))))


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.5 * 1 + 0.5 * 2 / 3),
        ([1, 0, 1, 0], [0.9, 0.9, 0.9, 0.9], 0.5),
        ([1, 1, 0], [0.9, 0.8, 0.1], 1.0),
    ],
)
def test_average_precision_of_known_cases(labels, scores, expected):
    value = metrics.average_precision(np.array(labels, bool), np.array(scores))
    assert value == pytest.approx(expected)


def test_average_precision_without_positives_does_not_exist():
    assert np.isnan(metrics.average_precision(np.zeros(3, bool), np.arange(3.0)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
@settings(max_examples=50)
def test_the_area_under_the_roc_curve_is_the_auroc(cases):
    labels = np.array([label for label, _ in cases])
    scores = np.array([float(score) for _, score in cases])
    alarms, hits = metrics.roc_curve(labels, scores)
    value = metrics.auroc(labels, scores)
    if not np.isnan(value):
        assert np.trapezoid(hits, alarms) == pytest.approx(value)
        assert (alarms[0], hits[0], alarms[-1], hits[-1]) == (0, 0, 1, 1)


def test_counts_at_a_threshold():
    found = metrics.at_threshold(LABELS, SCORES, 0.4)
    assert found == metrics.AtThreshold(
        sensitivity=0.5,
        specificity=0.5,
        positive_predictive_value=0.5,
        f1=0.5,
        accuracy=0.5,
        majority=0.5,
    )


def test_the_majority_floor_is_the_commoner_answer():
    rare = np.array([1, 0, 0, 0, 0], bool)
    assert metrics.at_threshold(rare, np.zeros(5), 0.5).majority == 0.8
    assert metrics.at_threshold(~rare, np.zeros(5), 0.5).majority == 0.8


def test_nothing_flagged_has_no_predictive_value():
    found = metrics.at_threshold(LABELS, SCORES, 2.0)
    assert np.isnan(found.positive_predictive_value)
    assert (found.sensitivity, found.specificity, found.f1) == (0, 1, 0)


def test_calibration_error_is_the_distance_from_the_diagonal():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1], bool)
    probabilities = np.array([0.25, 0.25, 0.25, 0.25, 1.0, 1.0, 1.0, 1.0])
    assert metrics.calibration_curve(labels, probabilities) == [(0.25, 0.25, 4), (1.0, 1.0, 4)]
    assert metrics.expected_calibration_error(labels, probabilities) == 0
    assert metrics.expected_calibration_error(~labels, probabilities) == 0.75


def test_bootstrap_brackets_the_mean_and_repeats_itself():
    values = np.random.default_rng(1).normal(size=400)
    patients = np.arange(400)
    found = metrics.bootstrap(patients, lambda rows: float(values[rows].mean()))
    assert found.value == pytest.approx(values.mean())
    assert 1.5 < (found.high - found.low) / (values.std() / 20) < 5.0
    assert found == metrics.bootstrap(patients, lambda rows: float(values[rows].mean()))


def test_bootstrap_draws_patients_not_ecgs():
    values = np.repeat(np.random.default_rng(1).normal(size=50), 8)
    mean = lambda rows: float(values[rows].mean())  # noqa: E731
    by_patient = metrics.bootstrap(np.repeat(np.arange(50), 8), mean)
    by_ecg = metrics.bootstrap(np.arange(400), mean)
    assert by_patient.high - by_patient.low > 2 * (by_ecg.high - by_ecg.low)
