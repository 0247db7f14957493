"""Made recordings with annotated beats: N, premature S and wide V on a steady rhythm."""

import numpy as np
import wfdb

from model.datasets.mitbih import BeatRecord
from model.findings import AAMI_CLASSES

RATE_HZ = 250.0
N, S, V = (AAMI_CLASSES.index(name) for name in "NSV")
RR_S, EARLY = 0.8, 0.6


def beat_record(name="101", n_beats=80, seed=0, ectopy=0.15, rate_hz=RATE_HZ):
    """Two leads; P, QRS and T waves; the beat after an ectopic one comes after a pause."""
    rng = np.random.default_rng(seed)
    classes = np.where(rng.random(n_beats) < ectopy, rng.choice([S, V], n_beats), N)
    classes[:4] = classes[-3:] = N
    classes[1:][classes[:-1] != N] = N
    rr_s = RR_S * np.exp(rng.normal(0, 0.01, n_beats))
    rr_s[classes != N] *= EARLY
    rr_s[1:][classes[:-1] != N] *= 2 - EARLY
    times_s = 0.7 + np.cumsum(rr_s)
    at_s = np.arange(round((times_s[-1] + 1) * rate_hz)) / rate_hz
    lead = np.zeros(len(at_s))
    for time_s, kind in zip(times_s, classes, strict=True):
        if kind != V:
            lead += (0.12 if kind == N else -0.08) * bump(at_s, time_s - 0.16, 0.025)
        lead += bump(at_s, time_s, 0.02 if kind != V else 0.045)
        lead += (0.25 if kind != V else -0.4) * bump(at_s, time_s + 0.28, 0.05)
    voltage = np.stack([lead, -0.7 * lead]) + rng.normal(0, 0.01, (2, len(at_s)))
    peaks = np.round(times_s * rate_hz).astype(np.int64)
    return BeatRecord(
        name, name, voltage.astype(np.float32), ("MLII", "V1"), rate_hz, peaks, classes
    )


def bump(at_s, centre_s, width_s):
    """A wave of one millivolt."""
    return np.exp(-0.5 * ((at_s - centre_s) / width_s) ** 2)


def write_record(folder, record):
    """As WFDB files with a reference."""
    wfdb.wrsamp(
        record.name,
        fs=record.sampling_rate_hz,
        units=["mV"] * 2,
        sig_name=list(record.leads),
        p_signal=record.voltage_mv.T.astype(float),
        fmt=["16"] * 2,
        write_dir=str(folder),
    )
    symbols = ["NAVFQ"[k] for k in record.classes]
    wfdb.wrann(
        record.name,
        "atr",
        record.r_peaks,
        symbol=symbols,
        write_dir=str(folder),
        fs=record.sampling_rate_hz,
    )


def write_noise(folder):
    """The three noise records, ten seconds of two leads each."""
    for k, name in enumerate(("bw", "em", "ma")):
        noise = np.random.default_rng(k).normal(0, 0.2, (3_600, 2))
        wfdb.wrsamp(
            name,
            fs=360,
            units=["mV"] * 2,
            sig_name=["noise1", "noise2"],
            p_signal=noise,
            fmt=["16"] * 2,
            write_dir=str(folder),
        )
