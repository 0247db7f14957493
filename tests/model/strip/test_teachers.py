import numpy as np
import pytest

from model.datasets import ptbxl
from model.errors import DatasetError
from model.strip.batches import UNKNOWN
from model.strip.inputs import N_TRAITS, WINDOW
from model.strip.settings import SEQUENCE
from model.strip.teachers import (
    N_EDITS,
    annotated,
    edited_records,
    load_strips,
    unit_noise,
    weak_strips,
)
from tests.beat_records import beat_record, write_noise
from tests.ptbxl_folder import write_ptbxl


def test_annotated_beats_come_in_two_views():
    records = [beat_record(str(k), n_beats=40, seed=k) for k in range(2)]
    data = annotated(records)
    assert data.shapes.shape == (2, 80, 2, 2, WINDOW)
    assert data.traits.shape == (2, 80, 2, N_TRAITS)
    assert data.record.tolist() == [0] * 40 + [1] * 40
    assert data.classes.tolist() == np.concatenate([r.classes for r in records]).tolist()


def test_edits_add_premature_beats():
    records = [beat_record(str(k), n_beats=200, seed=k, ectopy=0.0) for k in range(2)]
    data = edited_records(records)
    assert len(data.record.unique()) == N_EDITS * 2
    assert 0 < (data.classes == 1).sum() < len(data.classes) / 2


def test_noise_is_of_unit_spread(tmp_path):
    write_noise(tmp_path)
    noise = unit_noise(tmp_path)
    assert noise.shape == (6, 1_000)
    np.testing.assert_allclose(noise.std(dim=1), 1, atol=0.1)
    with pytest.raises(DatasetError, match="dataset-missing"):
        unit_noise(tmp_path / "nowhere")


def test_strips_are_labelled_as_wholes(tmp_path):
    data = ptbxl.load(write_ptbxl(tmp_path, 4), (1, 2))
    names = list(data.statement_names)
    as_if = data.statements.copy()
    as_if[0, :], as_if[1, :] = False, False
    premature = ("PAC", "PVC", "SVARR", "PACE")
    given = ptbxl.PtbXl(
        **{
            **vars(data),
            "statement_names": (*names, *premature),
            "statements": np.hstack([as_if, np.eye(len(as_if), 4, dtype=bool)]),
        }
    )
    strips = weak_strips(given)
    assert strips.shapes.shape[1:] == (SEQUENCE, 4, 2, WINDOW)
    # The fourth is paced and left out.
    assert strips.labels[:3].tolist() == [[1, 0], [0, 1], [UNKNOWN, 0]]
    assert len(strips.labels) == len(as_if) - 1
    assert (strips.labels[3:] == 0).all()
    assert strips.group[:3].tolist() == [0, 1, 3]
    assert (strips.n_beats > 4).all()
    assert not strips.traits[0, strips.n_beats[0] :].any()


def test_only_training_folds_are_read(tmp_path):
    folder = write_ptbxl(tmp_path, 1)
    assert len(load_strips(folder, None).labels) == 8
