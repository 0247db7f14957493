from dataclasses import replace

import numpy as np
import pytest
import torch

from model.metrics import auroc
from model.strip.af import forward
from model.strip.af_training import (
    AfNetwork,
    Settings,
    calibration_rows,
    highest_f1,
    predict,
    train_network,
)

QUICK = Settings(seeds=1, epochs=2, batch=16, width=8)


def test_numpy_and_torch_are_the_same_network(examples):
    torch.manual_seed(0)
    network = AfNetwork(16, 0.2).eval()
    rows = np.arange(0, len(examples.fold), 7)
    network.standardise(examples, rows)
    inputs = examples.inputs(rows)
    with torch.no_grad():
        expected = network(*(torch.from_numpy(part) for part in inputs)).numpy()
    outputs = forward(network.weights(), inputs)
    np.testing.assert_allclose(outputs.log_odds, expected, atol=1e-4)
    np.testing.assert_allclose(outputs.attention.sum(axis=1), 1, rtol=1e-5)
    assert not outputs.attention[~inputs.present].any()


def test_one_seed_gives_the_same_weights_another_does_not(examples):
    rows = np.flatnonzero(examples.fold == 1)
    first, again, other = (train_network(examples, rows, QUICK, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["heads.weight"], other["heads.weight"])


def test_what_was_not_taught_was_learned(af_model, examples):
    rows = calibration_rows(examples)
    log_odds = predict(af_model, examples, rows)
    for head in range(2):
        assert auroc(examples.labels[rows, head] == 1, log_odds[:, head]) > 0.95
    assert 0 < af_model.release <= af_model.threshold < 1


def test_only_clean_leads_one_and_two_calibrate(examples):
    clean = examples.clean.copy()
    clean[0] = False
    lead = examples.lead.copy()
    lead[3] = 5
    rows = calibration_rows(replace(examples, clean=clean, lead=lead))
    assert set(calibration_rows(examples)) - set(rows) == {0, 3}
    assert (examples.fold[rows] == 8).all()


def test_unknown_labels_teach_nothing(examples):
    rows = np.flatnonzero(examples.fold == 1)
    unknown, wrong = examples.labels.copy(), examples.labels.copy()
    unknown[:, 1] = -1
    wrong[:, 1] = 1 - wrong[:, 1]
    without, inverted = (
        train_network(replace(examples, labels=labels), rows, QUICK, 0)
        for labels in (unknown, wrong)
    )
    start = AfNetwork(QUICK.width, 0)
    assert without["heads.weight"].shape == start.heads.weight.shape
    # With no gradient the second head's bias only shrinks by weight decay from where it began.
    torch.manual_seed(0)
    begun = AfNetwork(QUICK.width, QUICK.dropout).heads.bias.detach().numpy()[1]
    assert without["heads.bias"][1] == pytest.approx(begun, abs=0.01)
    assert abs(inverted["heads.bias"][1] - begun) > 0.01


def test_the_highest_f1_lies_between_the_scores_it_parts():
    labels = np.array([False, False, True, True])
    assert highest_f1(labels, np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)
    assert highest_f1(np.ones(2, bool), np.array([0.3, 0.5])) == pytest.approx(0.3)
