"""WFDB records of two leads with rhythm annotations, as MIT-BIH has them, of simulated ECGs."""

import numpy as np
import wfdb

from model.simulate import simulate

RATE_HZ = 360


def write_record(folder, record, *, seconds=40, marks=((0, "(N"),), kind="normal", seed=0):
    """Leads II and V1; `marks` are (second, rhythm from then on)."""
    ecg = simulate(kind, seed=seed, sampling_rate_hz=float(RATE_HZ), duration_s=seconds)
    wfdb.wrsamp(
        record,
        fs=RATE_HZ,
        units=["mV", "mV"],
        sig_name=["MLII", "V1"],
        p_signal=ecg.voltage_mv[[1, 6]].T.astype(float),
        fmt=["16", "16"],
        write_dir=str(folder),
    )
    wfdb.wrann(
        record,
        "atr",
        sample=np.array([max(1, at * RATE_HZ) for at, _ in marks]),
        symbol=["+"] * len(marks),
        aux_note=[note for _, note in marks],
        write_dir=str(folder),
    )
