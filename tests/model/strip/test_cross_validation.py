import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from model.strip import cross_validated, cross_validation
from model.strip.batches import Strips
from model.strip.cross_validation import (
    N_FOLDS,
    Sources,
    folds_of,
    judge_fold,
    parts_of,
    run_part,
)
from model.strip.inputs import N_RHYTHM, N_TRAITS, WINDOW
from model.strip.settings import SEQUENCE
from tests.beat_records import beat_record, write_record
from tests.strip_bundle import SETTINGS


@pytest.fixture(scope="module")
def records():
    return [beat_record(str(100 + k), n_beats=80, seed=80 + k) for k in range(N_FOLDS)]


@pytest.fixture(scope="module")
def run_dir(records, tmp_path_factory):
    """Folds of one seed, each trained for a moment."""
    folder = tmp_path_factory.mktemp("run")
    strips = Strips(
        shapes=torch.zeros(2, SEQUENCE, 1, 2, WINDOW, dtype=torch.float16),
        traits=torch.zeros(2, SEQUENCE, 1, N_TRAITS),
        rhythm=torch.zeros(2, SEQUENCE, N_RHYTHM),
        n_beats=torch.full((2,), 8),
        labels=torch.zeros(2, 2, dtype=torch.int64),
        group=torch.zeros(2, dtype=torch.int64),
    )
    sources = Sources(records, strips, torch.randn(2, 500))
    short = replace(SETTINGS, epochs=1, steps=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_validation, "Settings", lambda: replace(short, edited=2, strips=2))
        patch.setattr(cross_validation, "WEAK_SETTINGS", replace(short, steps=2))
        for name in ("train_restorer", "train_plain"):
            patch.setattr(cross_validation, name, partial(getattr(cross_validation, name), steps=2))
        for fold in range(N_FOLDS):
            for part in parts_of([0]):
                run_part(sources, fold, part, folder)
            judge_fold(records, fold, folder)
    return folder


def test_one_person_is_in_one_fold_and_ectopy_in_every_fold():
    made = [beat_record(str(k), n_beats=60, seed=k) for k in range(12)]
    made[3] = replace(made[3], patient="0")
    folds = folds_of(made)
    assert sorted(i for fold in folds for i in fold) == list(range(12))
    assert len(folds) == N_FOLDS
    assert len([f for f in folds if {0, 3} & set(f)]) == 1
    assert all(any((made[i].classes > 0).any() for i in fold) for fold in folds)


def test_each_record_is_judged_by_the_fold_that_held_it_out(records, run_dir):
    for fold, members in enumerate(folds_of(records)):
        for i in members:
            with np.load(run_dir / f"{records[i].name}-annotated.npz") as kept:
                assert kept["fold"] == fold
                assert kept["seed0_log_probabilities"].shape == (80, 5)
                assert kept["weak_attention"].shape == (2, SEQUENCE)


def test_what_is_there_is_not_trained_again(run_dir):
    run_part(Sources([], None, None), 0, "seed0", run_dir)  # would fail without records


def test_the_report(records, run_dir, tmp_path, monkeypatch):
    (tmp_path / "mitdb").mkdir()
    for record in records:
        write_record(tmp_path / "mitdb", record)
    monkeypatch.setattr(cross_validated, "load_ds1", lambda _: records)
    path = tmp_path / "report.json"
    cross_validated.main(
        ["--data-path", str(tmp_path), "--run-dir", str(run_dir), "--json", str(path)]
    )
    report = json.loads(path.read_text())
    known = report["annotated, de-chazal"]
    assert np.sum(known["counts"]) == 400
    assert set(known["by_record"]) == {record.name for record in records}
    assert len(report["decisions"]) == N_FOLDS
    assert report["anomaly"]["plain_lstm_autoencoder"]["ratio_to_plain"]["value"] == 1
    assert {"fused", "template_baseline", "restoration"} <= set(report["anomaly"])
    whole = report["localisation"]["labelled_as_a_whole"]
    assert whole["strips_with_ectopy"] == 10
    assert 0 < whole["chance"] < 0.5
