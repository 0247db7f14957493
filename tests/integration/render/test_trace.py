"""Samples to paper, at true scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.render.trace import cut_off_mv, traces


def points(voltage, rate, reach=(19.0, 19.0)):
    return [
        t.points / 100 for t in traces(np.asarray(voltage, np.float32), rate, 10.0, 50.0, reach)
    ]


def test_25_mm_a_second_and_10_mm_a_millivolt():
    (line,) = points([0.0] * 50 + [1.0] * 25 + [0.0] * 75, 50.0)
    assert line[:, 0].min() == 10.0
    assert line[:, 0].max() == pytest.approx(10.0 + 149 / 50 * 25, abs=0.01)
    assert (line[:, 1].min(), line[:, 1].max()) == (40.0, 50.0)


def test_the_baseline_is_the_median_of_what_is_shown():
    (line,) = points([3.0] * 9 + [3.5], 50.0)
    assert line[0, 1] == 50.0
    assert line[-1, 1] == 45.0


def test_a_gap_ends_a_line():
    first, second = points([0, 0, np.nan, np.nan, 1, 1, 1], 50.0)
    assert (len(first), len(second)) == (2, 3)
    assert second[0, 0] == pytest.approx(10 + 4 / 50 * 25)


def test_nothing_there_draws_nothing():
    assert points([np.nan, np.nan], 50.0) == []


def test_what_is_too_large_stays_in_reach():
    (line,) = points([0, 0, 0, 5.0, -5.0], 50.0, (19.0, 25.0))
    assert (line[:, 1].min(), line[:, 1].max()) == (31.0, 75.0)


@pytest.mark.parametrize(
    ("voltage", "peaks"),
    [
        ([1, 1, 1, 1, 6.0, -4.0], (5.0, -5.0)),
        ([0, 0, 0, 2.0, -2.0], (2.0,)),
        ([0, 0, np.nan, 1.9, -2.5], ()),
        ([0, 0, 0, 0, -2.6], (-2.6,)),
        ([np.nan, np.nan], ()),
    ],
)
def test_what_is_cut_off_is_told_from_the_baseline_that_is_drawn(voltage, peaks):
    told = cut_off_mv(np.asarray(voltage, np.float32), (19.0, 25.0))
    assert told == pytest.approx(peaks)


@given(st.integers(0, 2**31), st.sampled_from([1000.0, 2000.0, 5000.0]))
def test_thinning_keeps_every_peak(seed, rate):
    voltage = np.random.default_rng(seed).normal(0, 0.2, 5000).astype(np.float32)
    (line,) = points(voltage, rate)
    assert len(line) < 5000
    high = 50 - (voltage.max() - np.median(voltage)) * 10
    assert line[:, 1].min() == pytest.approx(high, abs=0.011)
    assert (np.diff(line[:, 0]) >= 0).all()
    column = int(rate * 0.004)
    for start in range(0, 4000, 400 * column):
        block = voltage[start : start + column]
        assert (np.abs(line[:, 1] - (50 - (block.max() - np.median(voltage)) * 10)) < 0.02).any()
