import numpy as np
import pytest
import torch

from model.datasets import ptbxl
from model.ecg import LEADS_12
from model.resting.batches import LEAD_SUBSETS, PATCH, arrays, batches, leads_shown, patches_shown
from model.resting.settings import Settings
from model.signal import remove_baseline
from tests.ptbxl_folder import write_ptbxl

PLAIN = Settings(batch_size=8, mask_share=0.0, lead_dropout=0.0, crop_share=0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 18, folds=(1,))
    return ptbxl.load(folder, (1,))


@pytest.fixture(scope="module")
def ready(data):
    return arrays(data, torch.device("cpu"))


def drawn(ready, settings, epoch=0, seed=0):
    torch.manual_seed(seed)
    return list(batches(ready, settings, epoch))


def test_arrays_are_filtered_millivolts(data, ready):
    expected = remove_baseline(ptbxl.millivolts(data.voltage_uv))
    np.testing.assert_array_equal(ready.voltage_mv, expected)
    np.testing.assert_array_equal(ready.normal, data.normal)


def test_an_epoch_has_whole_batches_only(ready):
    assert [b.voltage_mv.shape for b in drawn(ready, PLAIN)] == [(8, 12, 1000)] * 2


def test_the_first_epochs_are_cropped(ready):
    settings = Settings(batch_size=8, epochs=4, crop_share=0.5, crop=512)
    lengths = [drawn(ready, settings, epoch)[0].voltage_mv.shape[2] for epoch in range(4)]
    assert lengths == [512, 512, 1000, 1000]


def test_the_seed_decides(ready):
    one, two, other = (drawn(ready, Settings(batch_size=8), seed=s)[0] for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.voltage_mv, other.voltage_mv)


def test_the_first_half_is_restored_and_not_mixed(ready):
    found = [batch for seed in range(4) for batch in drawn(ready, PLAIN, seed=seed)]
    assert sum(len(batch.restore) for batch in found) > 4
    for batch in found:
        assert set(batch.types[:4].unique().tolist()) <= {0.0, 1.0}
        assert (batch.restore < 4).all()
        noise = batch.voltage_mv[batch.restore] - batch.target_mv
        assert (noise.square().mean(dim=(1, 2)).sqrt() < 0.021).all()


def test_only_normals_are_restored(ready):
    types = torch.cat([batch.types[batch.restore] for batch in drawn(ready, PLAIN)])
    assert len(types)
    assert (types[:, 0] == 1).all()
    assert not types[:, 1:].any()


def test_the_second_half_is_mixed(ready):
    mixed = torch.cat([b.types[4:] for seed in range(5) for b in drawn(ready, PLAIN, seed=seed)])
    assert ((mixed > 0) & (mixed < 1)).any()
    assert mixed.min() >= 0
    assert mixed.max() <= 1


def test_masks_hide_about_their_share_in_patches():
    torch.manual_seed(0)
    shown = patches_shown(200, 1000, 0.3)
    assert (~shown).float().mean().item() == pytest.approx(0.3, abs=0.02)
    patches = shown.reshape(200, 12, -1, PATCH)
    assert (patches == patches[..., :1]).all()
    all_leads_alike = (shown == shown[:, :1]).all(dim=(1, 2))
    assert 60 < all_leads_alike.sum() < 140


def test_masks_fit_any_length():
    assert patches_shown(2, 512, 0.3).shape == (2, 12, 512)


def test_lead_dropout_leaves_at_least_one_lead():
    torch.manual_seed(0)
    shown = leads_shown(2_000, 0.25)
    assert shown.any(dim=1).all()
    assert (~shown.all(dim=1)).float().mean().item() == pytest.approx(0.25, abs=0.04)
    usual = {tuple(lead in subset for lead in LEADS_12) for subset in LEAD_SUBSETS}
    assert usual <= {tuple(row) for row in shown.tolist()}


def test_without_dropout_all_leads_show():
    assert leads_shown(50, 0.0).all()
