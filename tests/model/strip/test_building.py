from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from model.strip import building, cross_validation, release
from model.strip.af_training import Settings as AfSettings
from model.strip.building import build
from model.strip.detector import StripDetector
from tests.beat_records import beat_record, write_noise
from tests.ptbxl_folder import write_ptbxl
from tests.strip_bundle import SETTINGS


@pytest.fixture
def data_path(tmp_path, monkeypatch, examples):
    """Folders with everything but DS1, which is made; every network learns for a moment."""
    (tmp_path / "nstdb").mkdir()
    write_noise(tmp_path / "nstdb")
    write_ptbxl(tmp_path / "ptbxl100", 1)
    records = [beat_record(str(100 + k), n_beats=70, seed=k) for k in range(5)]
    monkeypatch.setattr(cross_validation, "load_ds1", lambda _: records)
    monkeypatch.setattr(building, "teaching_examples", lambda _: examples)
    for module in (cross_validation, release):
        short = partial(module.train_restorer, steps=2)
        monkeypatch.setattr(module, "train_restorer", short)
    return tmp_path


def test_a_bundle_is_built_and_a_stopped_run_goes_on(data_path, tmp_path):
    settings = replace(SETTINGS, epochs=1, steps=2, edited=0, strips=2)
    told = []
    arguments = {"af_settings": AfSettings(seeds=1, epochs=1, width=8), "tell": told.append}
    one = build(data_path, tmp_path / "run", settings, **arguments)
    assert len([line for line in told if line.startswith("fold")]) == 5
    assert one.card.n_networks == 3
    record = beat_record(seed=9, n_beats=20)
    reading = StripDetector(one).read(record.voltage_mv, record.sampling_rate_hz)
    assert len(reading.classes) == 20

    (tmp_path / "run" / "seed1.safetensors").unlink()
    told.clear()
    two = build(data_path, tmp_path / "run", settings, resume=True, **arguments)
    assert next(line for line in told if line.startswith("seed")).startswith("seed 1")
    assert two.identity == one.identity
    np.testing.assert_allclose(two.card.calibration.offsets, one.card.calibration.offsets)
