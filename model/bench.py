"""How long an ECG takes: eager torch against the shipped runtime, step by step and end to end.

Competitors take short turns, so that whatever else the machine does hits all of them. Each
figure has its median and its best: the median is what a user saw, the best what the code costs.
"""

import math
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.baselines.convolutional import ConvolutionalAutoencoder
from model.baselines.recurrent import LstmAutoencoder
from model.baselines.xresnet import XResNet1d101
from model.detector import Detector, Opinion, prepared_for
from model.ecg import Ecg
from model.quality import assess_quality
from model.resting.card import RestingBundle
from model.resting.reference import TorchRuntime
from model.resting.settings import WINDOW
from model.runtime import OnnxRuntime
from model.signal import Prepared, prepare, remove_baseline, resample, windows
from model.simulate import simulate

Json = dict[str, Any]
Call = Callable[[], object]

RATE_HZ = 500.0
TIMES_TOGETHER = 8  # ECGs of the steps' figures
_KINDS = ("normal", "inferior-st-elevation", "atrial-fibrillation", "left-bundle-branch-block")
_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
_CALLS_A_TURN = 3
_BEAT = 70  # samples the LSTM autoencoder reads at once


@dataclass(frozen=True)
class Plan:
    """What to measure: batch sizes, threads, calls of each."""

    batches: tuple[int, ...] = (1, 8, 32)
    threads: tuple[int, ...] = (1, 2)
    repeat: int = 50

    @property
    def n_steps(self) -> int:
        """How often `bench` calls its `on_step`."""
        return len(self.threads) * len(self.batches) + 3


def bench(bundle: RestingBundle, plan: Plan, on_step: Call = lambda: None) -> Json:
    """Measure everything; one thread wherever no other number is named."""
    ecgs = [
        simulate(kind, seed=seed, sampling_rate_hz=RATE_HZ)
        for seed, kind in islice(enumerate(cycle(_KINDS)), max(*plan.batches, TIMES_TOGETHER))
    ]
    network = []
    for threads in plan.threads:
        for batch in plan.batches:
            network.append(_network(bundle, ecgs[:batch], threads, plan.repeat))
            on_step()
    detectors = {
        "eager": Detector(bundle, TorchRuntime.of(bundle)),
        "shipped": Detector(bundle, OnnxRuntime(bundle)),
    }
    figures: Json = {"machine": machine(), "model": vars(bundle.identity), "network": network}
    figures["steps"] = _steps(detectors, ecgs[:TIMES_TOGETHER], plan.repeat)
    on_step()
    figures["findings_with_explanation"] = _findings(detectors, ecgs[:4], plan.repeat)
    on_step()
    figures["baselines"] = _baselines(plan.repeat)
    on_step()
    return figures


def machine() -> Json:
    """What the figures depend on besides the code; nothing that names a host."""
    flags: set[str] = set()
    model = platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags |= set(value.split())
            elif key.strip() == "model name":
                model = value.strip()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "cores_allowed": allowed,
        "flags": [flag for flag in _FLAGS if flag in flags],
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("torch", "onnxruntime", "numpy", "scipy")},
    }


def compared_ms(calls: Mapping[str, Call], n_ecgs: int, repeat: int) -> Json:
    """Milliseconds an ECG of calls that take `n_ecgs` each; a turn is a call to warm up and three.

    In a worker the same code runs again and again, so that its weights are in the cache.
    """
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(math.ceil(repeat / _CALLS_A_TURN)):
        for name, call in calls.items():
            call()
            for _ in range(_CALLS_A_TURN):
                started = time.perf_counter()
                call()
                took[name].append(1_000 * (time.perf_counter() - started) / n_ecgs)
    return {
        name: {"median_ms": round(float(np.median(ms)), 3), "best_ms": round(min(ms), 3)}
        for name, ms in took.items()
    }


def _network(bundle: RestingBundle, ecgs: Sequence[Ecg], threads: int, repeat: int) -> Json:
    pieces = [prepare(ecg) for ecg in ecgs]
    voltage_mv = np.stack([piece.voltage_mv for piece in pieces])
    visible = np.stack([piece.visible for piece in pieces])
    eager, shipped = TorchRuntime.of(bundle, threads), OnnxRuntime(bundle, threads)
    times = compared_ms(
        {
            "eager": lambda: eager.measure(voltage_mv, visible),
            "shipped": lambda: shipped.measure(voltage_mv, visible),
        },
        len(ecgs),
        max(5, repeat // len(ecgs)),
    )
    return {"threads": threads, "batch": len(ecgs), **times, "time_saved": _saved(times)}


def _saved(times: Json) -> Json:
    """Share of eager's time that the shipped runtime does not take."""
    return {
        key.removesuffix("_ms"): round(1 - times["shipped"][key] / times["eager"][key], 3)
        for key in ("median_ms", "best_ms")
    }


def _steps(detectors: Mapping[str, Detector], ecgs: Sequence[Ecg], repeat: int) -> Json:
    verdicts = [assess_quality(ecg) for ecg in ecgs]
    pieces = [_window(ecg) for ecg in ecgs]
    shipped = detectors["shipped"]
    measured = shipped.measure(pieces)
    at_100_hz = [resample(ecg.voltage_mv, ecg.sampling_rate_hz) for ecg in ecgs]
    times = compared_ms(
        {
            "quality gate": lambda: [assess_quality(ecg) for ecg in ecgs],
            "preparation": lambda: [
                prepared_for(ecg, verdict) for ecg, verdict in zip(ecgs, verdicts, strict=True)
            ],
            "of it resampling": lambda: [
                resample(ecg.voltage_mv, ecg.sampling_rate_hz) for ecg in ecgs
            ],
            "of it filtering": lambda: [remove_baseline(voltage) for voltage in at_100_hz],
            "network": lambda: shipped.measure(pieces),
            "calibration": lambda: shipped.judge(measured, pieces),
            "all together": partial(_opinion, shipped, ecgs),
            "all together, eager": partial(_opinion, detectors["eager"], ecgs),
        },
        len(ecgs),
        max(5, repeat // 2),
    )
    return {"batch": len(ecgs), "sampling_rate_hz": RATE_HZ, **times}


def _opinion(detector: Detector, ecgs: Sequence[Ecg]) -> Opinion:
    pieces = [_window(ecg) for ecg in ecgs]
    return detector.judge(detector.measure(pieces), pieces)


def _window(ecg: Ecg) -> Prepared:
    """Gate and prepare a 10 s ECG."""
    return windows(prepared_for(ecg, assess_quality(ecg)), WINDOW)[0][1]


def _findings(detectors: Mapping[str, Detector], ecgs: Sequence[Ecg], repeat: int) -> Json:
    """One ECG at a time, from memory to findings; most of these have something to explain."""
    return compared_ms(
        {name: partial(_score, detector, ecgs) for name, detector in detectors.items()},
        len(ecgs),
        max(5, repeat // 4),
    )


def _score(detector: Detector, ecgs: Sequence[Ecg]) -> None:
    for ecg in ecgs:
        detector.score(ecg)


@torch.inference_mode()
def _baselines(repeat: int) -> Json:
    """The peers' networks, eager, one thread, batch 1; each at its own input of 100 Hz."""
    torch.set_num_threads(1)
    networks = {
        "convolutional autoencoder, 10 s": (ConvolutionalAutoencoder(), WINDOW),
        "LSTM autoencoder, one beat": (LstmAutoencoder(), _BEAT),
        "xresnet1d101, 2.5 s": (XResNet1d101(77), XResNet1d101.window),
    }
    calls: dict[str, Call] = {}
    for name, (network, samples) in networks.items():
        ecg = torch.zeros(1, 12, samples)
        calls[name] = partial(network.eval(), ecg)
    return compared_ms(calls, 1, max(5, repeat // 4))
