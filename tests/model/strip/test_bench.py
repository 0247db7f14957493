import json

import pytest

from model.bundle import save_bundle
from model.strip.bench import LEADS, RATE_HZ, main, recording


def test_a_recording_of_any_length():
    ecg = recording(700.0)
    assert ecg.leads == LEADS
    assert ecg.voltage_mv.shape == (2, round(700 * RATE_HZ))


def test_stages_add_up_to_the_pipeline(strip_bundle, tmp_path):
    save_bundle(tmp_path / "bundle", strip_bundle)
    path = tmp_path / "bench.json"
    main(["--model-path", str(tmp_path / "bundle"), "--json", str(path), "--seconds", "60"])
    figures = json.loads(path.read_text())
    seconds = figures["cpu_seconds"]
    stages = sum(seconds[name] for name in seconds if name != "pipeline")
    assert seconds["pipeline"] == pytest.approx(stages)
    assert figures["times_real_time"] == pytest.approx(60 / seconds["pipeline"])
    assert figures["beats"] > 50
