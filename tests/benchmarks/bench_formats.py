"""File to millivolts: a 12-lead, 10 s, 500 Hz ECG in every format that is read.

    python tests/benchmarks/bench_formats.py [--json]

CPU time on one core, so that other work on the machine does not count. DICOM is the recording
inside pydicom, which has 1000 Hz; the other files are made here.
"""

import argparse
import json
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import click
import numpy as np
import wfdb
from pydicom.data import get_testdata_file

from integration.formats import ecgs_from_bytes, read_ecg
from model.ecg import LEADS_12
from tests.benchmarks.timing import median_ms
from tests.integration.formats.encoders import (
    aecg_series,
    aecg_xml,
    limb_leads_agree,
    make_counts,
    muse_waveform,
    muse_xml,
    scp_record,
    scp_sections,
    sierra_xml,
)

REPEATS = 40
LIMIT_MS = 20.0


def files() -> dict[str, bytes]:
    """Return a file of each format that comes as bytes."""
    counts = limb_leads_agree(make_counts())
    plain = scp_sections(counts, huffman=None)
    del plain[2]
    return {
        "aECG XML": aecg_xml(aecg_series(counts)),
        "DICOM, 1000 Hz": Path(str(get_testdata_file("waveform_ecg.dcm"))).read_bytes(),
        "MUSE XML, 8 leads": muse_xml(muse_waveform(counts[[0, 1, *range(6, 12)]])),
        "SCP-ECG, Huffman": scp_record(scp_sections(counts)),
        "SCP-ECG, plain": scp_record(plain),
        "Sierra XML 1.04": sierra_xml(counts),
    }


def write_wfdb(folder: Path) -> Path:
    """Write a WFDB record and return its header."""
    voltage_mv = make_counts().T * 0.005
    names, units = list(LEADS_12), ["mV"] * 12
    wfdb.wrsamp(
        "r", 500, units, names, voltage_mv, fmt=["16"] * 12, adc_gain=[200.0] * 12,
        baseline=[0] * 12, write_dir=str(folder),
    )  # fmt: skip
    return folder / "r.hea"


def measure() -> dict[str, dict[str, float]]:
    """Return bytes and milliseconds of each format."""
    rows = {}
    for name, data in files().items():
        assert np.isfinite(ecgs_from_bytes(data)[0].ecg.voltage_mv).all()
        rows[name] = {
            "bytes": len(data),
            "median_cpu_ms": median_ms(lambda d=data: ecgs_from_bytes(d), REPEATS),
        }
    with tempfile.TemporaryDirectory() as folder:
        header = write_wfdb(Path(folder))
        size = header.with_suffix(".dat").stat().st_size
        rows["WFDB, format 16"] = {
            "bytes": size,
            "median_cpu_ms": median_ms(lambda: read_ecg(header), REPEATS),
        }
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    rows = measure()
    if arguments.json:
        click.echo(json.dumps({"python": platform.python_version(), "formats": rows}))
        return
    click.echo(f"one core, Python {platform.python_version()}; median CPU time of {REPEATS} runs")
    for name, row in sorted(rows.items()):
        mark = "" if row["median_cpu_ms"] < LIMIT_MS else "  over the limit"
        click.echo(f"{row['median_cpu_ms']:8.2f} ms {row['bytes']:>8} bytes  {name}{mark}")


if __name__ == "__main__":
    main()
