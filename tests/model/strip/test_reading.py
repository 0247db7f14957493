import numpy as np
import pytest

from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW, BeatInputs
from model.strip.reading import ABSENT, Measured, lead_weights, read_beats, traits_of
from model.strip.settings import SEQUENCE


def numbered(n, n_leads=1):
    """Beats whose first trait is their number."""
    traits = np.zeros((n, n_leads, N_TRAITS), np.float32)
    traits[:, :, 0] = np.arange(n)[:, None] + 100 * np.arange(n_leads)
    return BeatInputs(
        np.zeros((n, n_leads, 2, WINDOW), np.float32),
        traits,
        np.zeros((n, N_RHYTHM), np.float32),
        np.ones((n, n_leads), bool),
    )


def echo(batch):
    """Tells each beat's number, and whether it exists."""
    present = batch.rows != ABSENT
    said = np.zeros((*present.shape, 5), np.float32)
    said[..., 0], said[..., 1] = batch.traits[batch.rows, 0], present
    attention = present / present.sum(axis=1, keepdims=True)
    return Measured(said, attention, np.zeros(len(said)), batch.traits[:, 0])


@pytest.mark.parametrize("n", [1, 7, SEQUENCE, 33, 48, 1_000])
def test_each_beat_is_answered_once_in_its_place(n):
    outputs = read_beats(echo, numbered(n))
    np.testing.assert_array_equal(outputs.log_probabilities[:, 0], np.arange(n))
    np.testing.assert_array_equal(outputs.log_probabilities[:, 1], 1)
    np.testing.assert_array_equal(outputs.errors[:, 0], np.arange(n))
    assert outputs.attention.sum() == pytest.approx(1)


@pytest.mark.parametrize("n_leads", [1, 2, 12, 40])
def test_sequences_hold_neighbours_of_one_lead_and_each_beat_once(n_leads):
    n, batches = 90, []  # below 100: no number twice

    def kept(batch):
        batches.append(batch)
        return echo(batch)

    outputs = read_beats(kept, numbered(n, n_leads))
    np.testing.assert_array_equal(outputs.errors, numbered(n, n_leads).traits[..., 0])
    for batch in batches:
        present = batch.rows != ABSENT
        numbers = batch.traits[batch.rows, 0]
        assert (np.diff(numbers, axis=1)[present[:, 1:] & present[:, :-1]] == 1).all()
        assert len(np.unique(batch.traits[:, 0])) == len(batch.traits)


def test_leads_are_averaged_and_their_errors_kept():
    outputs = read_beats(echo, numbered(20, n_leads=2))
    np.testing.assert_allclose(outputs.log_probabilities[:, 0], np.arange(20) + 50)
    np.testing.assert_allclose(outputs.errors[:, 1] - outputs.errors[:, 0], 100)


def test_a_lead_that_does_not_show_a_beat_does_not_count():
    inputs = numbered(20, n_leads=2)
    inputs.known[5] = [True, False]
    inputs.known[6] = False
    assert lead_weights(inputs)[4:7].tolist() == [[0.5, 0.5], [1, 0], [0.5, 0.5]]
    told = read_beats(echo, inputs).log_probabilities[:, 0]
    np.testing.assert_allclose(told[4:7], [54, 5, 56])
    assert traits_of(inputs)[5, 1, [0, N_TRAITS]].tolist() == [105, 5]


def test_no_beats_no_answers():
    outputs = read_beats(echo, numbered(0))
    assert outputs.log_probabilities.shape == (0, 5)
    assert outputs.attention.shape == (0,)
