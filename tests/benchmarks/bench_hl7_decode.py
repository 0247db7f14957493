"""Bytes to millivolts: a 12-lead, 10 s, 500 Hz message, against the parsers of hl7 and hl7apy.

    python tests/benchmarks/bench_hl7_decode.py [--json]

CPU time on one core, so that other work on the machine does not count. The others are timed for
parsing alone: their result still holds the samples as text.
"""

import argparse
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import click
import hl7
import numpy as np
from hl7apy.parser import parse_message

from db.records import NewExam, PatientRef
from integration.hl7v2.decode import decode
from integration.hl7v2.encode import encode_ecg
from model.ecg import LEADS_12, Ecg
from tests.benchmarks.timing import median_ms

STEP_MV, RATE_HZ, SECONDS = 0.005, 500, 10


def make_message() -> tuple[bytes, np.ndarray]:
    """Return a message and its counts `(12, 5000)`: heart beats and noise, 257 kB."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    beats = 1000 * np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) + 300 * np.sin(2 * np.pi * 0.3 * t)
    gains = rng.uniform(-1.5, 1.5, (12, 1))
    counts = np.rint(gains * beats + rng.normal(0, 200, (12, len(t)))).astype(int)
    ecg = Ecg((counts * STEP_MV).astype(np.float32), LEADS_12, RATE_HZ, None, (STEP_MV,) * 12)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    exam = NewExam(PatientRef("BENCH"), ecg, now)
    names = {"control_id": "1", "sender_application": "BENCH", "sender_facility": "BENCH"}
    return encode_ecg(exam, now=now, **names), counts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    raw, counts = make_message()
    text = raw.decode()
    (exam,) = decode(raw).exams
    assert np.array_equal(np.rint(exam.ecg.voltage_mv / STEP_MV).astype(int), counts)
    result = {
        "message_bytes": len(raw),
        "python": platform.python_version(),
        "median_cpu_ms": {
            "hisbundle, bytes to millivolts": median_ms(lambda: decode(raw), 200),
            "hl7 0.4.5, parse": median_ms(lambda: hl7.parse(text), 10),
            "hl7apy 1.3.5, parse_message": median_ms(lambda: parse_message(text), 2),
        },
    }
    if arguments.json:
        click.echo(json.dumps(result))
        return
    click.echo(f"{len(raw)} bytes, one core, Python {platform.python_version()}; median CPU time")
    for name, value in result["median_cpu_ms"].items():
        click.echo(f"{value:10.2f} ms  {name}")


if __name__ == "__main__":
    main()
