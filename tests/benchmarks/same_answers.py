"""Does the strip model still say the same? Keeps what it says of real records, and compares.

    python tests/benchmarks/same_answers.py --real FOLDER --keep before.npz
    python tests/benchmarks/same_answers.py --real FOLDER --against before.npz

FOLDER holds WFDB records. Of each, every lead goes through the strip's gate; the leads that the
product reads go through the model, once as they are and once with gaps. R peaks, faults, classes
and rhythms have to be the same; of everything else the largest difference is printed.
"""

import argparse
import json
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from numpy.typing import NDArray

from model.assessor import RHYTHM_LEADS, StripReader
from model.ecg import Ecg, canonical_lead
from model.strip.quality import assess_strip

MAX_S = 600.0
LIMIT = 1e-5


def told(reader: StripReader, ecg: Ecg) -> dict[str, NDArray[Any]]:
    """Return all that gate and model say of one ECG."""
    every = assess_strip(ecg.voltage_mv, ecg.sampling_rate_hz)
    answers = {
        "peaks": every.beats,
        "faults": every.lead_faults,
        "windows": every.window_faults,
        "agreement": every.agreement,
    }
    rows = [i for i, lead in enumerate(ecg.leads) if lead in RHYTHM_LEADS] or [0]
    chosen = Ecg(ecg.voltage_mv[rows], tuple(ecg.leads[i] for i in rows), ecg.sampling_rate_hz)
    for name, shown in (("whole", chosen), ("gaps", with_gaps(chosen))):
        strip, quality = reader.read(shown)
        answers[f"{name} verdict"] = np.array(repr(quality))
        if strip is not None:
            beats = [(b.time_s, b.probability, b.anomaly_score) for b in strip.beats]
            answers[f"{name} classes"] = np.array([b.aami_class for b in strip.beats], "U1")
            answers[f"{name} beats"] = np.array(beats).reshape(-1, 3)
            answers[f"{name} attention"] = np.array(strip.attention)
            rhythms = [asdict(rhythm) for rhythm in strip.rhythms]
            answers[f"{name} rhythms"] = np.array([r["code"] for r in rhythms], "U32")
            numbers = [[v for v in r.values() if isinstance(v, float)] for r in rhythms]
            answers[f"{name} rhythms' numbers"] = np.array([v for row in numbers for v in row])
    return answers


def with_gaps(ecg: Ecg) -> Ecg:
    """Take half a second out of each lead, and the second half out of the last one."""
    voltage_mv = ecg.voltage_mv.copy()
    half_s = round(ecg.sampling_rate_hz / 2)
    for k, row in enumerate(voltage_mv):
        row[(5 * k + 4) * half_s : (5 * k + 5) * half_s] = np.nan
    voltage_mv[-1, voltage_mv.shape[1] // 2 :] = np.nan
    return Ecg(voltage_mv, ecg.leads, ecg.sampling_rate_hz)


def answers_of(folder: Path, count: int) -> dict[str, NDArray[Any]]:
    """Return what is said of records drawn once for ever."""
    reader = StripReader.load()
    found = sorted(folder.rglob("*.hea"))
    answers: dict[str, NDArray[Any]] = {}
    for path in random.Random(0).sample(found, min(count, len(found))):
        answers |= {f"{path.stem} {name}": v for name, v in told(reader, beginning(path)).items()}
    return answers


def beginning(path: Path) -> Ecg:
    """Return MAX_S of a record; a pair of leads, whatever MIT-BIH calls it, becomes II and V1."""
    record = wfdb.rdrecord(str(path.with_suffix("")))
    pair = record.n_sig == len(RHYTHM_LEADS)
    leads = RHYTHM_LEADS if pair else tuple(map(canonical_lead, record.sig_name))
    voltage_mv = record.p_signal[: round(MAX_S * record.fs)].T.astype(np.float32)
    return Ecg(voltage_mv, leads, float(record.fs))


def differences(one: dict[str, NDArray[Any]], two: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the largest difference by kind of number, and what is not the same at all."""
    largest: dict[str, float] = {}
    other = sorted(set(one) ^ set(two))
    for name in sorted(set(one) & set(two)):
        kind = name.partition(" ")[2]
        before, after = one[name], two[name]
        exact = before.dtype.kind != "f"
        if before.shape != after.shape or (exact and not np.array_equal(before, after)):
            other.append(name)
        elif not exact and before.size:
            apart = float(np.abs(before - after).max())
            largest[kind] = max(largest.get(kind, 0.0), apart)
    return {"records": len({n.partition(" ")[0] for n in one}), "largest": largest, "other": other}


def main() -> None:
    """Keep, or compare and end with 1 where answers differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="folder of WFDB records")
    parser.add_argument("--count", type=int, default=200, help="at most so many of them")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--keep", type=Path, help="file that the answers go to")
    wanted.add_argument("--against", type=Path, help="file of answers to compare with")
    options = parser.parse_args()
    answers = answers_of(options.real, options.count)
    if options.keep:
        np.savez_compressed(options.keep, **answers)
        return
    with np.load(options.against) as kept:
        compared = differences(dict(kept), answers)
    print(json.dumps(compared, indent=1))  # noqa: T201
    sys.exit(bool(compared["other"]) or max(compared["largest"].values()) > LIMIT)


if __name__ == "__main__":
    main()
