import numpy as np
import pytest

from model.beats import detect_r_peaks
from model.simulate import simulate
from model.strip.af_examples import Examples
from model.strip.af_inputs import window_inputs
from model.strip.af_training import Settings, fit
from tests.strip_bundle import made_bundle

KINDS = ("normal", "atrial-fibrillation", "ventricular-ectopy", "sinus-tachycardia")


def simulated_examples(n_per_kind):
    """Leads I and II of simulated ECGs in turn; every third is for the calibration."""
    parts, labels = [], []
    for kind in KINDS:
        for seed in range(n_per_kind):
            trace_mv = simulate(kind, seed=seed, sampling_rate_hz=100.0).voltage_mv[seed % 2]
            peaks = np.round(detect_r_peaks(trace_mv[None], 100.0)).astype(np.int64)
            parts.append(window_inputs(trace_mv, peaks))
            labels.append((kind == "atrial-fibrillation", kind in KINDS[2:]))
    n = len(parts)
    leads = np.tile(np.arange(n_per_kind) % 2, len(KINDS))
    return Examples(
        segments=np.concatenate([p.segments[0] for p in parts]).astype(np.float16),
        rhythm=np.concatenate([p.rhythm[0] for p in parts]),
        window=np.concatenate([p.window for p in parts]),
        n_beats=np.array([p.present.shape[1] for p in parts]),
        labels=np.array(labels, np.int8),
        group=np.arange(n),
        fold=np.where(np.arange(n) % 3 == 0, 8, 1),
        lead=leads,
        clean=np.ones(n, bool),
    )


@pytest.fixture(scope="session")
def examples():
    return simulated_examples(60)


@pytest.fixture(scope="session")
def af_model(examples):
    """Two small networks that know simulated rhythms."""
    return fit(examples, Settings(seeds=2, epochs=12, batch=16, width=16))


@pytest.fixture(scope="session")
def strip_bundle(af_model):
    """A small strip bundle that learned made beats, from sequences and whole strips."""
    return made_bundle(af_model)
