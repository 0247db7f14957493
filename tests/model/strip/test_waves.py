"""Waves of one lead: each condition of a heart by the signal that lacks just this one."""

import numpy as np
import pytest

from model.strip.waves import fast_and_regular, no_qrs
from tests.model.test_beats import QRS, ecg, regular

RATE_HZ = 100.0
T = (0.14, 0.25, 0.045)
WIDE_DOWN = (0.01, -0.9, 0.035)
SPIKE = (0.0, 1.0, 0.003)


def row(peaks_s, waves=(QRS, T), **more):
    return ecg(peaks_s, 10, RATE_HZ, waves=waves, **more)[0]


def places(peaks_s):
    return np.round(peaks_s * RATE_HZ).astype(np.intp)


def jittered(rr_s, spread):
    rng = np.random.default_rng(1)
    return 0.3 + np.cumsum(rr_s * (1 + spread * rng.normal(size=round(9 / rr_s))))


@pytest.mark.parametrize("rr_s", [0.23, 0.25, 0.27, 0.29, 0.31])
@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_a_fast_heart_is_one(rr_s, gain):
    peaks_s = jittered(rr_s, 0.015)
    assert fast_and_regular(row(peaks_s, gain=gain), places(peaks_s), RATE_HZ)


@pytest.mark.parametrize("rr_s", [0.21, 0.34, 0.8])
def test_at_other_paces_the_detectors_have_to_agree(rr_s):
    peaks_s = regular(10, rr_s)
    assert not fast_and_regular(row(peaks_s), places(peaks_s), RATE_HZ)


def test_irregular_is_no_fast_heart():
    peaks_s = jittered(0.26, 0.08)
    assert not fast_and_regular(row(peaks_s), places(peaks_s), RATE_HZ)


def test_beats_of_two_kinds_by_turns_are_no_fast_heart():
    peaks_s = regular(10, 0.26)
    mixed = row(peaks_s[::2]) + row(peaks_s[1::2], waves=(WIDE_DOWN,))
    assert not fast_and_regular(mixed, places(peaks_s), RATE_HZ)


@pytest.mark.parametrize("overtone", [0.0, 0.3])
def test_a_tremor_is_no_fast_heart(overtone):
    t = np.arange(1000) / RATE_HZ
    swings = np.cos(2 * np.pi * 4 * t) + overtone * np.cos(2 * np.pi * 8 * t + 1)
    assert not fast_and_regular(swings.astype(np.float32), places(regular(10, 0.25)), RATE_HZ)


@pytest.mark.parametrize(
    "waves", [(QRS,), (SPIKE, T)], ids=["flat between pulses", "spikes instead of QRS"]
)
def test_pulses_are_no_fast_heart(waves):
    peaks_s = regular(10, 0.27)
    pulses = row(peaks_s, waves=waves, noise_mv=0.001)
    assert fast_and_regular(row(peaks_s, noise_mv=0.001), places(peaks_s), RATE_HZ)
    assert not fast_and_regular(pulses, places(peaks_s), RATE_HZ)


def test_noise_is_no_fast_heart():
    noise = np.random.default_rng(0).normal(0, 0.3, 1000).astype(np.float32)
    assert not fast_and_regular(noise, places(regular(10, 0.27)), RATE_HZ)


@pytest.mark.parametrize("n_beats", [0, 1, 3])
def test_too_few_beats_say_nothing(n_beats):
    peaks_s = regular(10, 0.27)[5 : 5 + n_beats]
    assert not fast_and_regular(row(peaks_s), places(peaks_s), RATE_HZ)
    assert not no_qrs(row(peaks_s[:2], waves=(SPIKE,)), places(peaks_s[:2]), RATE_HZ)


@pytest.mark.parametrize("waves", [(QRS,), (QRS, T), (WIDE_DOWN,)])
def test_qrs_is_qrs(waves):
    peaks_s = regular(10)
    assert not no_qrs(row(peaks_s, waves=waves), places(peaks_s), RATE_HZ)


def test_bigeminy_is_qrs():
    peaks_s = regular(10, 0.7)
    mixed = row(peaks_s[::2]) + row(peaks_s[1::2], waves=(WIDE_DOWN,))
    assert not no_qrs(mixed, places(peaks_s), RATE_HZ)


def test_spikes_are_no_qrs():
    peaks_s = regular(10)
    assert no_qrs(row(peaks_s, waves=(SPIKE,)), places(peaks_s), RATE_HZ)


def test_edges_are_no_qrs():
    edges_s = regular(10, 0.5)
    t = np.arange(1000) / RATE_HZ
    square = np.where(np.searchsorted(edges_s, t) % 2, 0.5, -0.5).astype(np.float32)
    square = np.convolve(square, np.ones(3) / 3, "same").astype(np.float32)
    assert no_qrs(square, places(edges_s), RATE_HZ)


def test_nothing_at_all_is_not_called_spikes():
    assert not no_qrs(np.zeros(1000, np.float32), places(regular(10)), RATE_HZ)
    assert not fast_and_regular(np.zeros(1000, np.float32), places(regular(10, 0.27)), RATE_HZ)
