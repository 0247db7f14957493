import numpy as np
import pytest
import torch

from model.strip.batches import (
    UNKNOWN,
    Sequences,
    Strips,
    annotated_sequences,
    augmented,
    drawn_alike,
    joined,
    weak_sequences,
)
from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW
from model.strip.settings import SEQUENCE, Settings
from model.strip.teachers import annotated
from tests.beat_records import beat_record


@pytest.fixture(scope="module")
def data():
    return annotated([beat_record(str(k), n_beats=50, seed=k) for k in range(2)])


def test_a_sequence_ends_with_its_record(data):
    torch.manual_seed(0)
    sequences, classes = annotated_sequences(data, torch.tensor([0, 40, 95]))
    assert sequences.shapes.shape == (3, SEQUENCE, 2, WINDOW)
    assert sequences.traits.shape == (3, SEQUENCE, 2 * N_TRAITS)
    assert sequences.rhythm.shape == (3, SEQUENCE, N_RHYTHM)
    assert sequences.present.sum(dim=1).tolist() == [SEQUENCE, 10, 5]
    assert torch.equal(classes[0], data.classes[:SEQUENCE])
    assert (classes[1, 10:] == UNKNOWN).all()


def test_the_mean_traits_are_those_of_leads_that_are_there(data):
    torch.manual_seed(0)
    sequences, _ = annotated_sequences(data, torch.zeros(200, dtype=torch.int64))
    own, mean = sequences.traits[:, 0].split(N_TRAITS, dim=1)
    first = data.traits[:, 0].numpy()
    alone = (own == mean).all(dim=1)
    assert 0.1 < alone.float().mean() < 0.5
    both = first.mean(axis=1)
    for row in mean[~alone].numpy():
        assert np.abs(row - both).max(axis=1).min() < 1e-5


def test_groups_are_drawn_alike():
    torch.manual_seed(0)
    group = torch.tensor([0] * 1_000 + [1] * 10)
    drawn = group[drawn_alike(group, 2_000)]
    assert drawn.float().mean() == pytest.approx(0.5, abs=0.05)


def test_augmentation_leaves_absent_beats_empty_and_keeps_the_difference(data):
    torch.manual_seed(0)
    sequences, _ = annotated_sequences(data, torch.tensor([0, 40]))
    noise = torch.randn(2, 500)
    settings = Settings(noise=0.0, trait_dropout=0.0, shape_dropout=0.0)
    changed = augmented(sequences, noise, settings)
    assert torch.equal(changed.present, sequences.present)
    assert not changed.shapes[~sequences.present].any()
    template = sequences.shapes[0, 0, 0] - sequences.shapes[0, 0, 1]
    kept = changed.shapes[0, 0, 0] - changed.shapes[0, 0, 1]
    rolled = [torch.roll(template, k) for k in range(-2, 3)]
    assert min(float((kept.abs() - r.abs()).abs().max()) for r in rolled) < 1e-3


def test_dropouts_take_all_of_a_part(data):
    torch.manual_seed(0)
    sequences, _ = annotated_sequences(data, torch.tensor([0]))
    settings = Settings(trait_dropout=1.0, shape_dropout=1.0)
    changed = augmented(sequences, torch.randn(2, 500), settings)
    assert not changed.shapes.any()
    assert not changed.traits.any()
    assert changed.rhythm.any()


def test_batches_join(data):
    sequences, _ = annotated_sequences(data, torch.tensor([0, 40]))
    both = joined([sequences, sequences])
    assert isinstance(both, Sequences)
    assert len(both.present) == 4


def test_weak_strips_show_the_beats_they_have():
    strips = Strips(
        shapes=torch.zeros(2, SEQUENCE, 3, 2, WINDOW, dtype=torch.float16),
        traits=torch.zeros(2, SEQUENCE, 3, N_TRAITS),
        rhythm=torch.zeros(2, SEQUENCE, N_RHYTHM),
        n_beats=torch.tensor([7, 12]),
        labels=torch.zeros(2, 2, dtype=torch.int64),
        group=torch.tensor([0, 1]),
    )
    assert weak_sequences(strips, torch.tensor([1, 0])).present.sum(dim=1).tolist() == [12, 7]
