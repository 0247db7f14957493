"""A strip bundle trained for seconds on made recordings."""

import numpy as np
import torch

from model.calibration import Logistic
from model.strip.af import AfModel
from model.strip.af_training import AfNetwork
from model.strip.anomaly import beat_views, fit_scale
from model.strip.calibrating import fit_calibration
from model.strip.cross_validation import inputs_of
from model.strip.normals import train_restorer
from model.strip.reading import read_beats
from model.strip.reference import Ensemble
from model.strip.release import frozen, origin_of
from model.strip.settings import Settings
from model.strip.teachers import annotated
from model.strip.training import Teachers, train
from tests.beat_records import beat_record

SETTINGS = Settings(epochs=4, steps=25, sequences=8, edited=0, strips=0, max_lr=4e-3, ema_decay=0.9)


def made_records(seeds, n_beats=120):
    return [beat_record(str(100 + seed), n_beats=n_beats, seed=seed) for seed in seeds]


def made_ensemble(records, settings=SETTINGS):
    beats = annotated(records)
    noise = torch.randn(2, 1_000, generator=torch.Generator().manual_seed(0))
    network = train(Teachers(beats, None, None, noise), settings)
    return Ensemble([network], train_restorer(beats, seed=0, steps=40)).eval()


def made_bundle(af_model):
    ensemble = made_ensemble(made_records(range(3)))
    raw, classes, said = [], [], []
    for record in made_records(range(10, 12)):
        inputs = inputs_of(record, record.r_peaks)
        outputs = read_beats(ensemble.measure, inputs)
        raw.append(outputs.log_probabilities)
        classes.append(record.classes)
        said.append((inputs, outputs))
    calibration = fit_calibration(np.concatenate(raw), np.concatenate(classes))
    views = [
        beat_views(i, o.errors, calibration.log_probabilities(o.log_probabilities))[known == 0]
        for (i, o), known in zip(said, classes, strict=True)
    ]
    origin = origin_of(["made"], [0], SETTINGS)
    return frozen(ensemble, af_model, calibration, fit_scale(np.concatenate(views)), origin)


def small_bundle():
    """One whose AF model learned nothing."""
    torch.manual_seed(0)
    even = Logistic((1.0,), 0.0)
    networks = (AfNetwork(8, 0.0).weights(),)
    return made_bundle(AfModel(networks, (even, even), 0.5, 0.4, 0.5))
