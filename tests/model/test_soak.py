import json

import pytest

from model import soak as soaking
from model.detector import Detector
from model.errors import DatasetError, EcgError
from model.simulate import simulate
from model.soak import soak

SOURCE = {"simulated": "all"}


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def detector():
    return Detector.load()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(soaking, "BLOCK", 4)


def ecg_of(number):
    kind = "noisy" if number % 5 == 3 else "normal"
    return simulate(kind, seed=number, sampling_rate_hz=100.0)


def test_each_ecg_is_counted_once_across_a_kill(detector, tmp_path):
    file, seen = tmp_path / "soak.json", []

    def until_six(number):
        if number == 6:
            raise Stopped
        return ecg_of(number)

    def noted(number):
        seen.append(number)
        return ecg_of(number)

    with pytest.raises(Stopped):
        soak(detector, until_six, 10, file, source=SOURCE)
    assert json.loads(file.read_text())["ecgs"] == 4
    told = soak(detector, noted, 10, file, source=SOURCE)
    assert seen == [4, 5, 6, 7, 8, 9]
    assert (told["ecgs"], told["scored"], told["unscorable"]) == (10, 8, 2)
    assert [run["ecgs"] for run in told["runs"]] == [4, 6]
    assert json.loads(file.read_text()) == told
    assert told["runs"][1]["resident_mib"] > 50


def test_what_is_done_is_not_done_again(detector, tmp_path):
    file, done = tmp_path / "soak.json", []
    soak(detector, ecg_of, 4, file, source=SOURCE)
    before = file.read_bytes()
    told = soak(detector, ecg_of, 4, file, source=SOURCE, on_ecg=lambda: done.append(1))
    assert (told["ecgs"], len(done)) == (4, 4)
    assert file.read_bytes() == before


def test_a_file_of_other_ecgs_is_left_alone(detector, tmp_path):
    file = tmp_path / "soak.json"
    soak(detector, ecg_of, 4, file, source=SOURCE)
    with pytest.raises(DatasetError, match="soak-differs"):
        soak(detector, ecg_of, 8, file, source={"simulated": "others"})


def test_what_cannot_be_read_is_counted_as_refused(detector, tmp_path):
    def with_a_bad_one(number):
        if number == 2:
            raise EcgError("amplitude-implausible", "beyond 20 mV")
        return ecg_of(number)

    told = soak(detector, with_a_bad_one, 6, tmp_path / "soak.json", source=SOURCE)
    assert (told["ecgs"], told["scored"], told["unscorable"], told["refused"]) == (6, 4, 1, 1)
