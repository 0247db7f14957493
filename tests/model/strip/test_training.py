import numpy as np
import pytest
import torch

from model.strip.batches import UNKNOWN
from model.strip.cross_validation import inputs_of
from model.strip.reading import read_beats
from model.strip.settings import Settings
from model.strip.training import ectopy_loss, one_cycle, weak_loss
from tests.strip_bundle import SETTINGS, made_ensemble, made_records

S, V = 1, 2


def test_it_learns_beats_of_patients_it_never_saw():
    ensemble = made_ensemble(made_records(range(3)))
    record = made_records([20])[0]
    outputs = read_beats(ensemble.measure, inputs_of(record, record.r_peaks))
    told = outputs.log_probabilities.argmax(axis=1)
    assert (told == record.classes).mean() > (record.classes == 0).mean() + 0.05


def test_the_same_seed_gives_the_same_network():
    short = Settings(**{**vars(SETTINGS), "epochs": 1, "steps": 3})
    records = made_records([0])
    one, two = (made_ensemble(records, short).tensors() for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_strip_label_falls_on_the_strip_not_on_a_beat():
    present = torch.ones(1, 4, dtype=torch.bool)
    atrial = torch.tensor([[1, 0]])
    logits = torch.zeros(1, 4, 5)
    logits[..., 0] = 5
    none = weak_loss(logits, present, atrial)
    one_of_them = []
    for beat in range(4):
        found = logits.clone()
        found[0, beat, S] = 12
        one_of_them.append(weak_loss(found, present, atrial))
    assert max(one_of_them) < 0.2 < none
    assert float(max(one_of_them) - min(one_of_them)) < 1e-4
    wrong = logits.clone()
    wrong[0, 0, V] = 12
    assert weak_loss(wrong, present, atrial) > none


def test_strips_with_neither_are_normal_and_the_unknown_costs_nothing():
    present = torch.ones(1, 4, dtype=torch.bool)
    logits = torch.zeros(1, 4, 5)
    normal = logits.clone()
    normal[..., 0] = 8
    neither = torch.tensor([[0, 0]])
    assert weak_loss(normal, present, neither) < 0.01 < weak_loss(logits, present, neither)
    unknown = torch.tensor([[UNKNOWN, UNKNOWN]])
    assert float(weak_loss(logits, present, unknown)) == pytest.approx(0)


def test_absent_beats_do_not_count():
    present = torch.tensor([[True, True, False, False]])
    logits = torch.zeros(1, 4, 5)
    logits[..., 0] = 8
    loud = logits.clone()
    loud[0, 2:, S] = 20
    neither = torch.tensor([[0, 0]])
    torch.testing.assert_close(
        weak_loss(logits, present, neither), weak_loss(loud, present, neither)
    )


def test_ectopy_is_any_known_beat_that_is_not_normal():
    classes = torch.tensor([[0, 0, UNKNOWN], [0, V, UNKNOWN]])
    assert ectopy_loss(torch.tensor([-9.0, 9.0]), classes) < 0.01
    assert ectopy_loss(torch.tensor([9.0, -9.0]), classes) > 5


def test_the_rate_rises_then_falls():
    rates = [one_cycle(done, SETTINGS) for done in np.linspace(0, 1, 50)]
    assert max(rates) == pytest.approx(SETTINGS.max_lr, rel=0.05)
    assert rates[0] < 0.1 * max(rates)
    assert rates[-1] < 0.01 * max(rates)
