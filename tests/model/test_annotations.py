"""Annotation files: what is written is read back by us and by wfdb; refusals."""

import numpy as np
import pytest
import wfdb

from model.annotations import (
    BXB_CLASSES,
    DE_CHAZAL_CLASSES,
    beat_annotations,
    read_annotations,
    write_annotations,
)
from model.errors import DatasetError


def test_written_beats_and_rhythms_are_read_back(tmp_path):
    beats, classes = np.array([77, 370, 662, 1900]), ["N", "S", "V", "Q"]
    rhythms = [(0, "N"), (370, "AFIB"), (1900, "B")]
    written = write_annotations(tmp_path, "101", beats, classes, 250.0, rhythms=rhythms)
    assert written == tmp_path / "101.hsb"

    read = read_annotations(tmp_path / "101", "hsb")
    assert read.samples.tolist() == [0, 77, 370, 370, 662, 1900, 1900]
    assert read.symbols.tolist() == ["+", "N", "+", "S", "V", "+", "Q"]
    assert read.notes == ("(N", "", "(AFIB", "", "", "(B", "")
    assert read.sampling_rate_hz == 250.0
    samples, labels = read.beats(BXB_CLASSES)
    assert samples.tolist() == beats.tolist()
    assert labels.tolist() == classes


def test_other_wfdb_programs_read_them_too(tmp_path):
    beats = np.arange(100, 1_000_000, 997)
    classes = ["NSVFQ"[i % 5] for i in range(len(beats))]
    write_annotations(tmp_path, "night", beats, classes, 128.0, extension="tst")
    theirs = wfdb.rdann(str(tmp_path / "night"), "tst")
    assert theirs.fs == 128
    assert theirs.sample.tolist() == beats.tolist()
    assert theirs.symbol == classes


def test_long_silences_survive(tmp_path):
    write_annotations(tmp_path, "r", np.array([5, 40_000_000]), ["N", "V"], 360.0)
    assert read_annotations(tmp_path / "r", "hsb").samples.tolist() == [5, 40_000_000]


@pytest.mark.parametrize(
    ("symbols", "bxb_class", "de_chazal_class"),
    [
        ("NLRB", "N", "N"),
        ("AaJS", "S", "S"),
        ("ejn", "S", "N"),
        ("VEr", "V", "V"),
        ("F", "F", "F"),
        ("Q/f", "Q", "Q"),
    ],
)
def test_mappings_differ_in_escape_beats_only(symbols, bxb_class, de_chazal_class):
    assert {BXB_CLASSES[s] for s in symbols} == {bxb_class}
    assert {DE_CHAZAL_CLASSES[s] for s in symbols} == {de_chazal_class}


def test_what_is_no_beat_is_left_out():
    said = beat_annotations(np.array([1, 2, 3, 4, 5]), list("N+|V~"), 360.0)
    samples, labels = said.beats(BXB_CLASSES)
    assert samples.tolist() == [1, 4]
    assert labels.tolist() == ["N", "V"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"record": "../101"},
        {"record": ""},
        {"extension": "a/b"},
        {"classes": ["N"]},
        {"classes": ["N", "A"]},
        {"beats": np.array([-1, 5])},
        {"beats": np.array([], np.int64), "classes": []},
    ],
)
def test_refuses_to_write(tmp_path, wrong):
    given = {"record": "101", "beats": np.array([1, 5]), "classes": ["N", "V"], **wrong}
    with pytest.raises(DatasetError, match="annotations-malformed"):
        write_annotations(tmp_path, sampling_rate_hz=360.0, **given)
    assert not list(tmp_path.iterdir())


def test_refuses_to_read(tmp_path):
    with pytest.raises(DatasetError, match="annotations-missing"):
        read_annotations(tmp_path / "101", "atr")
    wfdb.wrann("norate", "atr", np.array([5]), symbol=["N"], write_dir=str(tmp_path))
    with pytest.raises(DatasetError, match="annotations-malformed"):
        read_annotations(tmp_path / "norate", "atr")
