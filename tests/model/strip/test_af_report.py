import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from model.datasets import ptbxl
from model.simulate import simulate
from model.strip import af_report
from model.strip.af import AfModel
from model.strip.af_examples import DS1, NOISE_RECORDS
from model.strip.af_training import Settings
from model.strip.card import SHIPPED
from tests.ptbxl_folder import write_ptbxl
from tests.wfdb_records import write_record

FOLDS = (1, 8, 9)


@pytest.fixture
def data_path(tmp_path):
    """The layout of all three data sets, two minutes of each record at most."""
    write_ptbxl(tmp_path / "ptbxl100", n_per_fold=12, folds=FOLDS)
    (tmp_path / "mitdb").mkdir()
    for record in DS1:
        write_record(tmp_path / "mitdb", record, seconds=12)
    for record, kind in (("201", "(AFIB"), ("203", "(AFL")):
        write_record(tmp_path / "mitdb", record, seconds=40, marks=((0, kind),))
    (tmp_path / "nstdb").mkdir()
    for number, record in enumerate(NOISE_RECORDS):
        write_record(tmp_path / "nstdb", record, seconds=30, kind="noisy", seed=number)
    return tmp_path


def test_the_command_trains_and_measures(data_path, tmp_path, monkeypatch):
    monkeypatch.setattr(af_report, "TEACHING_FOLDS", (((1, 8), 97),))
    monkeypatch.setattr(af_report, "GROUP_SETTINGS", Settings(seeds=1, epochs=1, batch=16))
    monkeypatch.setattr(af_report, "GATE_SNR_DB", (-6.0, 24.0))
    weights, figures = tmp_path / "af.safetensors", tmp_path / "rhythm.json"
    arguments = ["--data-path", data_path, "--weights", weights, "--json", figures, "--epochs", 2]
    af_report.main([str(a) for a in arguments])
    model = AfModel.from_tensors(load_file(weights))
    told = json.loads(figures.read_text())
    assert told["settings"]["epochs"] == 2
    assert told["thresholds"]["af"] == pytest.approx(model.threshold, rel=1e-6)
    assert told["fold_9"]["II"]["ecgs"] == 12
    assert told["fold_9"]["II"]["with_af"] == 2
    assert sum(told["four_classes_proxy"]["strips"].values()) == 10  # two name no rhythm
    assert set(told["called_noisy"]) == {"-6 dB", "24 dB"}
    episodes = told["ds1"]["trained_on_other_records_too"]["episodes"]
    assert set(episodes) == set(DS1)
    assert episodes["201"]["annotated_min"] == pytest.approx(40 / 60, rel=1e-3)
    assert episodes["101"]["annotated_min"] == 0.0


def test_the_command_measures_a_bundle_where_nothing_was_fitted(data_path, tmp_path, monkeypatch):
    monkeypatch.setattr(af_report, "GATE_SNR_DB", (24.0,))
    figures = tmp_path / "rhythm.json"
    given = ["--data-path", data_path, "--model-path", SHIPPED, "--json", figures]
    af_report.main([str(a) for a in given])
    told = json.loads(figures.read_text())
    assert told["model"]["name"] == "strip"
    assert told["fold_9"]["I"]["ecgs"] == 12
    assert "ds1" not in told  # the shipped networks have learnt from it


def test_records_are_measured_by_networks_that_have_not_seen_them():
    assert sorted(record for group in af_report.RECORD_GROUPS for record in group) == sorted(DS1)
    group_of = {record: i for i, group in enumerate(af_report.RECORD_GROUPS) for record in group}
    assert group_of["201"] != group_of["203"]


def test_figures_of_a_perfect_and_a_useless_model(af_model, examples):
    measured = replace(examples, group=np.arange(len(examples.fold)))
    good = af_report.fold_figures(af_model, measured)["II"]
    assert good["auroc"]["value"] > 0.95
    assert good["auroc"]["low"] <= good["auroc"]["value"] <= good["auroc"]["high"]
    assert good["majority"] == pytest.approx(0.75)
    deaf = replace(af_model, threshold=1.1)
    silent = af_report.fold_figures(deaf, measured)["II"]
    assert silent["sensitivity"]["value"] == 0.0
    assert silent["accuracy"]["value"] == pytest.approx(silent["majority"])


def test_noise_is_called_noise(af_model, tmp_path):
    data = ptbxl.load(write_ptbxl(tmp_path / "ptbxl", n_per_fold=12, folds=(9,)), (9,))
    noisy = simulate("noisy", seed=1, sampling_rate_hz=100.0, duration_s=60.0).voltage_mv
    shares = af_report.gate_figures(af_model, data, noisy - noisy.mean(axis=1, keepdims=True))
    assert shares["-6 dB"] > shares["24 dB"] == 0.0
