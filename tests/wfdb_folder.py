"""Folders of simulated ECGs as the PhysioNet challenges and LUDB lay them out."""

import csv

import numpy as np
from scipy.io import savemat

from model.simulate import simulate

CINC_KINDS = (
    ("normal", "426783006"),
    ("atrial-fibrillation", "164889003"),
    ("left-bundle-branch-block", "164909002,426783006"),
    ("sinus-bradycardia", "426177001"),
    ("ventricular-ectopy", "427172004, 426783006"),
    ("normal", "426783006"),
)
LUDB_KINDS = (
    ("normal", ("Rhythm: Sinus rhythm.", "Electric axis of the heart: normal.")),
    ("sinus-bradycardia", ("Rhythm: Sinus bradycardia.", "Electric axis of the heart: vertical.")),
    (
        "left-ventricular-hypertrophy",
        (
            "Rhythm: Sinus rhythm.",
            "Electric axis of the heart: left axis deviation.",
            "Left ventricular hypertrophy.",
            "Left ventricular overload.",
        ),
    ),
    ("inferior-st-elevation", ("Rhythm: Sinus rhythm.", "STEMI: inferior wall.")),
)


def write_record(path, ecg, remarks, *, mat=True, first_line_name=None, sample_format=None):
    """Write one record in steps of one microvolt; `mat`: MATLAB 4, else plain 16 bit numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.round(ecg.voltage_mv * 1000).astype("<i2")
    file = path.with_name(path.name + (".mat" if mat else ".dat"))
    if mat:
        savemat(file, {"val": steps}, format="4")
    else:
        steps.T.tofile(file)
    sample_format = sample_format or ("16+24" if mat else "16")
    lines = [
        f"{first_line_name or path.name} {len(ecg.leads)} {ecg.sampling_rate_hz:g} {ecg.n_samples}"
    ]
    lines += [
        f"{file.name} {sample_format} 1000/mV 16 0 {row[0]} {row.sum(dtype='<i2')} 0 {lead}"
        for lead, row in zip(ecg.leads, steps, strict=True)
    ]
    path.with_name(path.name + ".hea").write_text("\n".join([*lines, *(f"#{r}" for r in remarks)]))


def write_cinc(folder, n, *, prefix="A", nested="g1"):
    """Write n records of the kinds in turn; the sexes in the spellings that occur."""
    for i in range(n):
        kind, codes = CINC_KINDS[i % len(CINC_KINDS)]
        ecg = simulate(kind, seed=i + 1, sampling_rate_hz=500.0)
        age = "NaN" if i == 1 else str(40 + i % 40)
        sex = ("Male", "F", "M", "Female", "Unknown")[i % 5]
        remarks = [f"Age: {age}", f"Sex: {sex}", f"Dx: {codes}", "Rx: Unknown"]
        write_record(folder / nested / f"{prefix}{i + 1:04d}", ecg, remarks)
    return folder


def write_ludb(folder, n=4, *, words="headers"):
    """Write n records of the kinds in turn; their words go to the headers or to the table."""
    rows = []
    for i in range(n):
        kind, said = LUDB_KINDS[i % len(LUDB_KINDS)]
        remarks = ["<age>: 51", "<sex>: F", "<diagnoses>:", *said] if words == "headers" else []
        ecg = simulate(kind, seed=i + 1, sampling_rate_hz=500.0)
        write_record(folder / "data" / str(i + 1), ecg, remarks, mat=False)
        rhythm, *others = said
        rows.append([str(i + 1), "M\n", "64", rhythm.removeprefix("Rhythm: "), "\n".join(others)])
    if words == "table":
        with (folder / "ludb.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["ID", "Sex", "Age", "Rhythms", "Other states"])
            table.writerows(rows)
    return folder
