from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from db.compress import shrink
from db.errors import Corrupt
from db.waveform import pack, unpack
from model.ecg import LEADS_12, Ecg

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
FINEST = 2**-23  # float32's own rounding, relative


def make(voltage_mv, resolution_mv=None, **more):
    voltage_mv = np.array(voltage_mv, dtype=np.float32)
    leads = LEADS_12[: len(voltage_mv)]
    return Ecg(voltage_mv, leads, 500.0, resolution_mv=resolution_mv, **more)


def assert_same(got, expected, rtol):
    np.testing.assert_allclose(got.voltage_mv, expected.voltage_mv, rtol=rtol, atol=0)
    assert got.voltage_mv.dtype == np.float32
    for name in ("leads", "sampling_rate_hz", "start", "resolution_mv"):
        assert getattr(got, name) == getattr(expected, name)


samples = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 12), st.integers(1, 60)), elements=st.integers(-4000, 4000)
)


@given(
    steps=samples,
    resolution_mv=st.floats(1e-4, 5e-3),
    holes=st.integers(0, 2**32 - 1),
    float32_arithmetic=st.booleans(),
)
def test_steps_come_back_as_they_were(steps, resolution_mv, holes, float32_arithmetic):
    missing = np.random.default_rng(holes).random(steps.shape) < 0.1
    if float32_arithmetic:  # as a sender's decoder may do it
        voltage_mv = steps.astype(np.float32) * np.float32(resolution_mv)
    else:
        voltage_mv = steps * resolution_mv
    ecg = make(np.where(missing, np.nan, voltage_mv), (resolution_mv,) * len(steps))
    packed = pack(ecg)
    assert packed.encoding == "i2"
    assert_same(unpack(packed), ecg, rtol=4 * FINEST)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(1, 60)),
        elements=st.floats(-20, 20, width=32) | st.just(np.nan),
    ),
    st.none() | st.floats(1e-4, 0.5),
)
def test_any_voltages_come_back(voltage_mv, resolution_mv):
    resolutions = None if resolution_mv is None else (resolution_mv,) * len(voltage_mv)
    ecg = make(voltage_mv, resolutions, start=START)
    assert_same(unpack(pack(ecg)), ecg, rtol=4 * FINEST)


def test_float32_values_of_whole_steps_are_bit_exact():
    steps = np.arange(-2000, 2000).reshape(2, -1)
    ecg = make(steps * 0.005, (0.005, 0.005))
    assert_same(unpack(pack(ecg)), ecg, rtol=0)


@pytest.mark.parametrize(
    ("voltage_mv", "resolution_mv", "encoding"),
    [
        ([[0.0, 1.0, -1.0]], None, "f4"),
        ([[0.0, 1.0, -1.0]], (0.005,), "i2"),
        ([[0.0, 16.3835]], (0.0005,), "i2"),  # 32767 steps
        ([[0.0, 16.384]], (0.0005,), "i4"),
        ([[0.0, 16.384], [1.0, 2.0]], (0.0005, 0.1), "i4"),
        ([[0.0, 10.0]], (1e-9,), "f4"),  # 10**10 steps
        ([[0.0, 0.0025]], (0.005,), "f4"),  # half a step: a computed lead
        ([[1e-9]], (0.005,), "f4"),
        ([[np.nan, np.nan]], (0.005,), "i2"),
    ],
)
def test_the_smallest_faithful_encoding_is_taken(voltage_mv, resolution_mv, encoding):
    ecg = make(voltage_mv, resolution_mv)
    packed = pack(ecg)
    assert packed.encoding == encoding
    assert_same(unpack(packed), ecg, rtol=4 * FINEST)


def test_differences_may_overflow():
    ecg = make([[16.3835, -16.3835, np.nan, 16.3835]], (0.0005,))
    packed = pack(ecg)
    assert packed.encoding == "i2"
    assert_same(unpack(packed), ecg, rtol=4 * FINEST)


def test_a_smooth_ecg_takes_less_than_half_its_samples():
    time_s = np.arange(5000) / 500
    wave = np.rint(200 * np.sin(2 * np.pi * time_s) + np.random.default_rng(1).normal(0, 3, 5000))
    packed = pack(make([wave * 0.005] * 12, (0.005,) * 12))
    assert len(packed.samples) < 12 * 5000


def test_samples_are_not_shown():
    assert "samples=b" not in repr(pack(make([[0.0]])))


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "u8"},
        {"n_samples": 2},
        {"n_samples": 0},
        {"n_samples": 10**9},
        {"leads": ()},
        {"leads": ("II", "V9")},
        {"leads": ("II",) * 100},
        {"resolution_mv": None},
        {"resolution_mv": (0.005,)},
        {"resolution_mv": (0.005, 5.0)},
        {"sampling_rate_hz": 0.0},
        {"samples": b""},
        {"samples": shrink(bytes(7))},
        {"samples": shrink(bytes(1000))},
        {"samples": shrink(np.full(6, 30_000, "<i2").tobytes())},  # 150 mV
    ],
)
def test_what_makes_no_ecg_is_corrupt(change):
    packed = pack(make([[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]], (0.005, 0.005)))
    with pytest.raises(Corrupt):
        unpack(replace(packed, **change))
