"""A folder in the layout of the PhysioNet/CinC Challenge of 2017, of simulated strips."""

import numpy as np
from scipy.io import savemat

from model.simulate import simulate

RATE_HZ = 300
KINDS = {
    "N": "normal",
    "A": "atrial-fibrillation",
    "O": "sinus-tachycardia",
    "~": "noisy",
}


def write_record(folder, record, voltage_mv):
    """16 bits at 1000 steps a millivolt behind a MATLAB 4 header of 24 bytes."""
    steps = np.round(voltage_mv * 1000).clip(-32768, 32767).astype("<i2")
    savemat(folder / f"{record}.mat", {"val": steps[None]}, format="4")
    (folder / f"{record}.hea").write_text(
        f"{record} 1 {RATE_HZ} {len(steps)} 10:20:30 1/02/2014\n"
        f"{record}.mat 16+24 1000/mV 16 0 {steps[0]} 0 0 ECG\n"
    )


def write_cinc2017(folder, n_per_class=2, durations_s=(9.0, 30.0), table="REFERENCE.csv"):
    """Classes in turn, of 9 s and 30 s."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(n_per_class):
        for label, kind in KINDS.items():
            record = f"A{len(rows) + 1:05d}"
            ecg = simulate(
                kind,
                seed=3000 + i,
                sampling_rate_hz=float(RATE_HZ),
                duration_s=durations_s[i % len(durations_s)],
            )
            write_record(folder, record, ecg.voltage_mv[0])
            rows.append(f"{record},{label}")
    (folder / table).write_text("\n".join(rows) + "\n")
    return folder
