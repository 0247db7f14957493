import json

import numpy as np
import pytest

from model import leave_one_out
from model.datasets import ptbxl
from tests.ptbxl_folder import write_ptbxl


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ptbxl(tmp_path_factory.mktemp("data") / "ptbxl", 12)


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """One run with one type, and its folder."""
    run = tmp_path_factory.mktemp("run")
    arguments = ["--data-path", str(folder), "--epochs", "1", "--types", "MI"]
    arguments += ["--run-dir", str(run), "--json", str(run / "out.json")]
    leave_one_out.main(arguments)
    return run, arguments


def test_no_ecg_of_the_type_is_left(folder):
    data = ptbxl.load(folder, (1, 2))
    column = ptbxl.TYPES.index("STTC")
    kept = leave_one_out.without(data, "STTC")
    assert data.types[:, column].sum() == 4
    assert not kept.types[:, column].any()
    assert len(kept.ecg_id) == len(data.ecg_id) - 4


@pytest.mark.parametrize(("code", "kept"), [("MI", (0, 2, 3, 4, 5)), ("ARR", (0, 1, 2, 3, 4))])
def test_the_head_of_the_type_is_left_out(code, kept):
    assert leave_one_out.heads_without(code) == kept


def test_figures_name_command_data_and_intervals(written, folder):
    content = json.loads((written[0] / "out.json").read_text())
    assert content["command"].startswith("python -m model.leave_one_out --data-path DIR")
    assert content["data_sha256"] == ptbxl.load(folder, tuple(range(1, 9))).sha256()
    figures = content["left_out"]["MI"]["all"]
    assert (figures["ecgs"], figures["normals"]) == (2, 4)
    for view in ("auroc", "restoration", "latent", "types"):
        assert 0 <= figures[view]["low"] <= figures[view]["value"] <= figures[view]["high"] <= 1


def test_finished_types_are_not_trained_again(written, monkeypatch):
    run, arguments = written
    before = (run / "out.json").read_bytes()
    monkeypatch.setattr(leave_one_out, "train", pytest.fail)
    leave_one_out.main(arguments)
    assert (run / "out.json").read_bytes() == before


def test_the_run_never_saw_the_type(written, folder):
    settings = json.loads((written[0] / "MI" / "settings.json").read_text())
    data = ptbxl.load(folder, tuple(range(1, 9)))
    seen = data.rows(np.flatnonzero(~data.types[:, ptbxl.TYPES.index("MI")]))
    assert settings["data_sha256"] == seen.sha256()
