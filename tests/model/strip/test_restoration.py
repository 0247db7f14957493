import numpy as np
import torch

from model.strip.cross_validation import inputs_of
from model.strip.inputs import N_RHYTHM, WINDOW
from model.strip.normals import errors, train_plain, train_restorer
from model.strip.restoration import PATCH, Restorer
from model.strip.teachers import annotated
from tests.beat_records import N, V
from tests.strip_bundle import made_records


def test_nothing_is_restored_from_itself():
    torch.manual_seed(0)
    restorer = Restorer().eval()
    beat, template = torch.randn(1, WINDOW), torch.randn(1, WINDOW)
    rhythm = torch.zeros(1, N_RHYTHM)
    patch = slice(3 * PATCH, 4 * PATCH)
    one = restorer(torch.stack([beat, beat - template], dim=1), rhythm)
    beat[:, patch] += 5
    two = restorer(torch.stack([beat, beat - template], dim=1), rhythm)
    torch.testing.assert_close(one[:, patch], two[:, patch])
    assert (one - two).abs().max() > 1e-3  # the other patches see it


def test_an_ectopic_beat_is_harder_to_restore_than_a_normal_one():
    data = annotated(made_records(range(3)))
    restorer = train_restorer(data, seed=0, steps=60)
    plain = train_plain(data, seed=0, steps=3)
    record = made_records([30])[0]
    inputs = inputs_of(record, record.r_peaks)
    found = errors(restorer, inputs)
    assert found.shape == (len(record.classes), 2)
    assert np.median(found[record.classes == V]) > 2 * np.median(found[record.classes == N])
    assert errors(plain, inputs).shape == found.shape
