"""From folders of data to a strip bundle: folds, calibration, networks, AF model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from model.strip.af import AfModel
from model.strip.af_report import teaching_examples
from model.strip.af_training import Settings as AfSettings
from model.strip.af_training import fit
from model.strip.anomaly import AnomalyScale, fit_scale
from model.strip.card import BeatCalibration, StripBundle
from model.strip.cross_validated import Answers, calibration_of, load_answers, views_of
from model.strip.cross_validation import (
    N_FOLDS,
    RESTORER,
    SEED,
    Sources,
    judge_fold,
    load_sources,
    run_part,
)
from model.strip.release import frozen, origin_of, trained_ensemble
from model.strip.settings import Settings

FOLDS, AF_FILE = "folds", "af.safetensors"
N_NETWORKS = 3


def build(
    data_path: Path,
    run_dir: Path,
    settings: Settings,
    *,
    resume: bool = False,
    cache: Path | None = None,
    af_settings: AfSettings | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> StripBundle:
    """Train everything that a bundle holds; `data_path` holds `mitdb`, `nstdb`, `ptbxl100`.

    Finished networks are kept in `run_dir`; with `resume` they are not trained again.

    Raises:
        DatasetError: something of the data is not there.
        BundleError: `graph-drifts`.
    """
    seeds = tuple(range(settings.seed, settings.seed + N_NETWORKS))
    if not resume:
        for kept in run_dir.rglob("*.safetensors"):
            kept.unlink()
    sources = load_sources(data_path, cache)
    calibration, anomaly = _calibrated(sources, run_dir / FOLDS, settings, seeds, tell)
    ensemble = trained_ensemble(
        sources,
        settings,
        seeds,
        run_dir,
        resume=True,
        on_epoch=lambda seed, epoch, loss: tell(f"seed {seed}, epoch {epoch}: loss {loss:.4f}"),
    )
    af = _af_model(run_dir / AF_FILE, data_path, af_settings or AfSettings())
    origin = origin_of([r.name for r in sources.records], seeds, settings)
    return frozen(ensemble, af, calibration, anomaly, origin)


def _calibrated(
    sources: Sources,
    folds_dir: Path,
    settings: Settings,
    seeds: Sequence[int],
    tell: Callable[[str], None],
) -> tuple[BeatCalibration, AnomalyScale]:
    """From what each fold's networks say of the patients they never saw."""
    for fold in range(N_FOLDS):
        for seed in seeds:
            run_part(sources, fold, f"{SEED}{seed}", folds_dir, replace(settings, seed=seed))
        run_part(sources, fold, RESTORER, folds_dir)
        judge_fold(sources.records, fold, folds_dir)
        tell(f"fold {fold + 1} of {N_FOLDS}")
    answers = load_answers(folds_dir, sources.records, "annotated")
    names = [f"{SEED}{seed}" for seed in seeds]
    calibration = calibration_of(answers, names)
    return calibration, anomaly_scale(answers, names, calibration)


def anomaly_scale(
    answers: Sequence[Answers], names: Sequence[str], calibration: BeatCalibration
) -> AnomalyScale:
    """From the normal beats of all answers."""
    normal = [views_of(a, names, calibration)[a.classes == 0] for a in answers]
    return fit_scale(np.concatenate(normal))


def _af_model(path: Path, data_path: Path, settings: AfSettings) -> AfModel:
    if not path.exists():
        save_file(fit(teaching_examples(data_path), settings).tensors(), path)
    return AfModel.from_tensors(load_file(path))
