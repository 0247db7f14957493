from dataclasses import replace

import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.strip.edited import edited
from tests.beat_records import N, S, V, beat_record


@pytest.fixture(scope="module")
def record():
    return beat_record(n_beats=400, ectopy=0.0)


def test_premature_beats_are_put_in_where_there_were_none(record):
    made = edited(record, np.random.default_rng(0))
    assert (record.classes == S).sum() == 0
    assert 20 < (made.classes == S).sum() < 300
    rr_s = np.diff(made.r_peaks) / made.sampling_rate_hz
    usual = np.median(rr_s)
    early = made.classes[1:] == S
    assert np.median(rr_s[early]) < 0.85 * usual
    assert np.median(rr_s[~early]) == pytest.approx(usual, rel=0.1)


def test_beats_lie_where_the_edit_says(record):
    made = edited(record, np.random.default_rng(1))
    found = detect_r_peaks(made.voltage_mv, made.sampling_rate_hz)
    nearest = np.abs(found[None] - made.r_peaks[:, None]).min(axis=1)
    assert (nearest <= 0.03 * made.sampling_rate_hz).mean() > 0.97


def test_pieces_join_without_a_step(record):
    made = edited(record, np.random.default_rng(2))
    before = np.abs(np.diff(record.voltage_mv, axis=1)).max()
    assert np.abs(np.diff(made.voltage_mv, axis=1)).max() < 1.1 * before


def test_the_patients_own_ectopy_is_left_alone():
    record = beat_record(n_beats=400, ectopy=0.05)
    made = edited(record, np.random.default_rng(3))
    assert (made.classes == V).sum() >= (record.classes[1:-1] == V).sum() - 1


def test_an_irregular_rhythm_is_not_edited(record):
    rng = np.random.default_rng(4)
    peaks = np.sort(rng.choice(record.voltage_mv.shape[1], 200, replace=False))
    irregular = replace(record, r_peaks=peaks, classes=np.full(200, N))
    assert edited(irregular, rng) is None


def test_the_same_seed_makes_the_same(record):
    one, two = (edited(record, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.voltage_mv, two.voltage_mv)
    np.testing.assert_array_equal(one.classes, two.classes)
