"""How fast strips are read: CPU seconds of one core an hour of signal, by stage.

    python -m model.strip.bench [--json FILE]

The signal is simulated, two leads at 360 Hz; a beat costs the same whatever it shows.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.beats import detect_r_peaks
from model.ecg import Ecg
from model.simulate import simulate
from model.strip.detector import StripDetector
from model.strip.quality import assess_strip

RATE_HZ = 360.0
LEADS = ("II", "V1")
_SEED_S = 600.0  # simulated, then repeated


def recording(duration_s: float) -> Ecg:
    """Ventricular ectopy in two leads, repeated to some length."""
    part = simulate(
        "ventricular-ectopy",
        seed=0,
        sampling_rate_hz=RATE_HZ,
        duration_s=min(duration_s, _SEED_S),
    )
    rows = part.voltage_mv[[part.leads.index(lead) for lead in LEADS]]
    n_samples = round(duration_s * RATE_HZ)
    repeats = -(-n_samples // rows.shape[1])
    return Ecg(np.tile(rows, repeats)[:, :n_samples], LEADS, RATE_HZ)


def measure(detector: StripDetector, duration_s: float = 3_600.0) -> dict[str, Any]:
    """CPU seconds by stage; `pipeline` is quality gate, beats and rhythm together."""
    ecg = recording(duration_s)
    gate_s, _ = _timed(lambda: assess_strip(ecg.voltage_mv, ecg.sampling_rate_hz))
    peaks_s, peaks = _timed(lambda: detect_r_peaks(ecg.voltage_mv, ecg.sampling_rate_hz))
    classes_s, _ = _timed(lambda: detector.read(ecg.voltage_mv, ecg.sampling_rate_hz, peaks))
    score_s, findings = _timed(lambda: detector.score(ecg))
    pipeline_s = gate_s + score_s
    return {
        "command": "python -m model.strip.bench",
        "model": vars(detector.identity),
        "signal": f"{duration_s:g} s, {len(LEADS)} leads, {RATE_HZ:g} Hz",
        "beats": len(findings.beats),
        "cpu_seconds": {
            "quality_gate": gate_s,
            "r_peaks": peaks_s,
            "classes_and_anomaly": classes_s,
            "rhythm": score_s - peaks_s - classes_s,
            "pipeline": pipeline_s,
        },
        "times_real_time": duration_s / pipeline_s,
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the shipped bundle."""
    parser = argparse.ArgumentParser(description="Measure how fast strips are read.")
    parser.add_argument("--model-path", type=Path, help="bundle folder [default: the shipped one]")
    parser.add_argument("--json", type=Path, required=True, help="figures go here")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="of signal")
    chosen = parser.parse_args(arguments)
    figures = measure(StripDetector.load(chosen.model_path), chosen.seconds)
    chosen.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
