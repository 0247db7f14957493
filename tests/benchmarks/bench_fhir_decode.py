"""Bytes to millivolts: a 12-lead, 10 s, 500 Hz Observation, against JSON and models alone.

    python tests/benchmarks/bench_fhir_decode.py [--json]

CPU time on one core, so that other work on the machine does not count. The others stop at parsing:
their result still holds the samples as text.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import click
import numpy as np
import orjson
from fhir.resources.R4B.observation import Observation

from integration.fhir.decode import decode
from model.ecg import LEADS_12
from tests.benchmarks.timing import median_ms
from tests.fhir_observations import STEP_UV, component, observation

RATE_HZ, SECONDS = 500, 10


def make_observation() -> tuple[bytes, np.ndarray]:
    """Return an Observation and its counts `(12, 5000)`: heart beats and noise."""
    rng = np.random.default_rng(0)
    t = np.arange(RATE_HZ * SECONDS) / RATE_HZ
    beats = 200 * np.exp(-(((t % 0.8 - 0.4) / 0.02) ** 2)) + 60 * np.sin(2 * np.pi * 0.3 * t)
    gains = rng.uniform(-1.5, 1.5, (12, 1))
    counts = np.rint(gains * beats + rng.normal(0, 40, (12, len(t)))).astype(int)
    parts = [component(lead, row.tolist()) for lead, row in zip(LEADS_12, counts, strict=True)]
    return orjson.dumps(observation(parts)), counts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    raw, counts = make_observation()
    (exam,) = decode(raw)
    assert np.array_equal(np.rint(exam.ecg.voltage_mv * 1000 / STEP_UV).astype(int), counts)
    result = {
        "body_bytes": len(raw),
        "python": platform.python_version(),
        "median_cpu_ms": {
            "hisbundle, bytes to millivolts": median_ms(lambda: decode(raw), 200),
            "orjson.loads alone": median_ms(lambda: orjson.loads(raw), 200),
            "fhir.resources R4B Observation": median_ms(
                lambda: Observation.model_validate(orjson.loads(raw)), 20
            ),
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
