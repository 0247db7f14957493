"""A folder with the layout of PTB-XL, filled with simulated ECGs."""

import csv
from dataclasses import replace

import numpy as np

from model.bundle import Bundle, save_bundle, weights_sha256
from model.ecg import LEADS_12
from model.resting.card import load_resting
from model.simulate import simulate

STATEMENTS = {
    "NORM": "NORM",
    "IMI": "MI",
    "NDT": "STTC",
    "CLBBB": "CD",
    "2AVB": "CD",
    "LVH": "HYP",
    "SR": "",
    "AFIB": "",
}
KINDS = (
    ("normal", ("NORM", "SR")),
    ("inferior-st-elevation", ("IMI", "SR")),
    ("left-bundle-branch-block", ("CLBBB", "SR")),
    ("left-ventricular-hypertrophy", ("LVH", "NDT")),
    ("atrial-fibrillation", ("AFIB",)),
    ("normal", ("NORM", "SR")),
)
COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr")


def write_ptbxl(folder, n_per_fold, folds=range(1, 10)):
    """Every fold holds the kinds in turn; each patient has two ECGs of one fold."""
    (folder / "records100").mkdir(parents=True)
    with (folder / "scp_statements.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "description", "diagnostic", "diagnostic_class"])
        for name, superclass in STATEMENTS.items():
            table.writerow([name, name, "1.0" if superclass else "", superclass])
    with (folder / "ptbxl_database.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        number = 0
        for fold in folds:
            for i in range(n_per_fold):
                number += 1
                kind, codes = KINDS[i % len(KINDS)]
                record = f"records100/{number:05d}_lr"
                write_record(folder / record, simulate(kind, seed=number, sampling_rate_hz=100.0))
                age = "" if number == 1 else "60.0"
                labels = dict.fromkeys(codes, 100.0)
                row = (number, f"{number // 2}.0", age, i % 2, labels, fold, record)
                table.writerow(row)
    return folder


def bundle_of_these_statements(folder):
    """The shipped model, cut to the statements of such a folder."""
    shipped = load_resting()
    tensors = dict(shipped.tensors)
    for name in ("network.statements.weight", "network.statements.bias"):
        tensors[name] = tensors[name][: len(STATEMENTS)]
    card = shipped.card.model_copy(
        update={
            "dimensions": replace(shipped.card.dimensions, n_statements=len(STATEMENTS)),
            "statements": tuple(STATEMENTS),
            "weights_sha256": weights_sha256(tensors),
            "graphs_sha256": {},
        }
    )
    save_bundle(folder, Bundle(card, tensors))
    return folder


def write_record(path, ecg):
    steps = np.round(ecg.voltage_mv * 1000).astype("<i2")
    steps.T.tofile(path.with_name(path.name + ".dat"))
    lines = [f"{path.name} 12 100 1000"]
    lines += [
        f"{path.name}.dat 16 1000.0(0)/mV 16 0 {row[0]} {row.sum(dtype='<i2')} 0 {lead.upper()}"
        for row, lead in zip(steps, LEADS_12, strict=True)
    ]
    path.with_name(path.name + ".hea").write_text("\n".join(lines) + "\n")
