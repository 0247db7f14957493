import json

import pytest
from click.testing import CliRunner
from pydicom.data import get_testdata_file

from integration.cli.bench import bench

QUICK = ["model", "--batch", "1,3", "--threads", "1", "--repeat", "1"]


def run(*arguments):
    return CliRunner().invoke(bench, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def figures():
    return json.loads(run(*QUICK, "--json").stdout)


def test_each_batch_and_thread_is_measured(figures):
    assert [(row["threads"], row["batch"]) for row in figures["network"]] == [(1, 1), (1, 3)]
    for row in figures["network"]:
        for name in ("eager", "shipped"):
            assert 0 < row[name]["best_ms"] <= row[name]["median_ms"]
        saved = 1 - row["shipped"]["best_ms"] / row["eager"]["best_ms"]
        assert row["time_saved"]["best"] == pytest.approx(saved, abs=6e-4)


def test_the_steps_are_told_apart_and_together(figures):
    steps = figures["steps"]
    assert steps["batch"] == 8
    assert {"quality gate", "preparation", "network", "calibration", "all together"} <= set(steps)
    assert set(figures["findings_with_explanation"]) == {"eager", "shipped"}
    assert len(figures["baselines"]) == 3


def test_the_figures_say_what_made_them(figures):
    assert figures["command"] == "hisbundle bench model --batch 1,3 --threads 1 --repeat 1"
    assert figures["model"]["name"] == "resting"
    machine = figures["machine"]
    assert machine["cores"] >= machine["cores_allowed"] >= 1
    assert {"cpu", "flags", "load_average", "torch", "onnxruntime"} <= set(machine)
    assert not any("/" in str(value) for value in machine.values())


def test_people_get_tables(figures):
    result = run(*QUICK)
    for part in ("Network", "time saved", "quality gate", "xresnet1d101", "median (best)"):
        assert part in result.stdout
    assert "measuring: 5 of 5" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--batch", "one", "give numbers with commas"),
        ("--batch", "0", "numbers are 1 to 256"),
        ("--batch", "1,257", "numbers are 1 to 256"),
        ("--threads", "65", "numbers are 1 to 64"),
        ("--threads", "", "give numbers with commas"),
        ("--repeat", "0", "1<=x<=10000"),
    ],
)
def test_senseless_numbers_are_refused(option, value, message):
    result = run("model", option, value)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_soak_reads_recordings_then_simulates_and_goes_on(tmp_path):
    recording = get_testdata_file("waveform_ecg.dcm")
    arguments = ["--resume", str(tmp_path / "soak.json"), "--data-path", recording]
    first = json.loads(run("soak", "3", *arguments).stdout)
    assert first["source"] == {"real": 1, "simulated": "the rest"}
    assert (first["ecgs"], first["scored"], len(first["runs"])) == (3, 3, 1)
    result = run("soak", "5", *arguments)
    second = json.loads(result.stdout)
    assert (second["ecgs"], [r["ecgs"] for r in second["runs"]]) == (5, [3, 2])
    assert "soak: 5 of 5" in result.stderr
