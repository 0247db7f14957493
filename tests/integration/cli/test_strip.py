import json

import pytest
from click.testing import CliRunner

from integration.cli.evaluate import evaluate
from integration.cli.train import train
from model.bundle import save_bundle
from model.strip import building
from model.strip.card import load_strip
from model.strip.settings import Settings
from tests.beat_records import beat_record, write_record
from tests.strip_bundle import small_bundle


@pytest.fixture(scope="module")
def bundle():
    return small_bundle()


def test_train_builds_a_strip_bundle(bundle, tmp_path, monkeypatch):
    asked = {}

    def build(data_path, run_dir, settings, **options):
        asked.update(data_path=data_path, settings=settings, resume=options["resume"])
        options["tell"]("fold 1 of 5")
        return bundle

    monkeypatch.setattr(building, "build", build)
    done = CliRunner().invoke(
        train,
        [
            *("--model", "strip", "--data-path", str(tmp_path), "--run-dir", str(tmp_path / "run")),
            *("--epochs", "2", "--seed", "5", "--resume"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert asked == {
        "data_path": tmp_path,
        "settings": Settings(epochs=2, seed=5),
        "resume": True,
    }
    assert "fold 1 of 5" in done.output
    assert load_strip(tmp_path / "run" / "bundle").identity == bundle.identity


def test_evaluate_reads_a_folder_of_annotated_records(bundle, tmp_path):
    save_bundle(tmp_path / "bundle", bundle)
    (tmp_path / "data").mkdir()
    write_record(tmp_path / "data", beat_record("100", n_beats=60, seed=90))
    done = CliRunner().invoke(
        evaluate,
        [
            *("--model-path", str(tmp_path / "bundle"), "--data-path", str(tmp_path / "data")),
            *("--json", str(tmp_path / "figures.json")),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "1 records of 1 patients" in done.output
    assert "annotated, de-chazal R peaks" in done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["model"]["name"] == "strip"
    assert figures["annotated, de-chazal"]["accuracy"]["value"] > 0.5


def test_evaluate_says_what_it_left_out(bundle, tmp_path):
    save_bundle(tmp_path / "bundle", bundle)
    for name in ("100", "102"):
        write_record(tmp_path, beat_record(name, n_beats=60, seed=90, rate_hz=360.0))
    done = CliRunner().invoke(
        evaluate, ["--model-path", str(tmp_path / "bundle"), "--data-path", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert "left out, paced: 102" in done.output


@pytest.mark.parametrize("option", ["--folds=9", "--limit=5", "--operating-point=balanced"])
def test_options_that_a_strip_bundle_does_not_know_are_refused(option, bundle, tmp_path):
    save_bundle(tmp_path / "bundle", bundle)
    done = CliRunner().invoke(
        evaluate, ["--model-path", str(tmp_path / "bundle"), "--data-path", str(tmp_path), option]
    )
    assert done.exit_code == 2
    assert option.partition("=")[0] in done.stderr
