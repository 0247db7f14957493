"""Fast hearts, and what only looks like one: how many strips are told, how many raise an alert.

    python tests/benchmarks/fast_hearts.py --data-path FOLDER --json OUT.json

FOLDER holds mitdb and nstdb. All strips are made, of 10 s: tachycardias of simulated beats and of
DS1's own, put close together, with recorded noise; waves that are no heart's, alone or over one.
A seed always makes the same strips; the limits of model/strip/waves.py were chosen on others.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from integration.critical import CriticalSettings, critical_rhythms
from model.assessor import StripReader
from model.datasets.mitbih import DS1, BeatRecord, load_record
from model.ecg import Ecg
from model.findings import AAMI_CLASSES
from model.signal import resample
from model.simulate import DOWER, ECTOPIC, LBBB, NORMAL, QRS, T, Wave
from model.strip.robustness import load_noise

Array = NDArray[np.float64]

LEADS = ("II", "V1")
LEAD_ROWS = [1, 2]  # of DOWER
DURATION_S = 10.0
BPM = (150, 165, 180, 190, 200, 205, 215, 225, 235, 245, 255, 260)
NOISES = (("", 0.0), ("bw", 12.0), ("ma", 18.0), ("ma", 12.0), ("em", 12.0))
NARROW, WIDE = (*QRS, *T), {"bundle branch": LBBB[2:], "ventricular": ECTOPIC}
SHARP_HZ = 4000.0  # edges and spikes are made at this rate, then averaged down


class Made(NamedTuple):
    """One strip; `bpm` of the heart's that is to be told, or None where there is none."""

    kind: str
    voltage_mv: Array
    rate_hz: float
    bpm: float | None = None


class Data:
    """What is recorded: DS1 and the noises of NSTDB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.record = cache(lambda name: load_record(folder / "mitdb", name))
        self.noise = cache(lambda name: load_noise(folder / "nstdb", name))

    def noisy(self, mv: Array, rate_hz: float, rng: Generator, name: str, snr_db: float) -> Array:
        """Add a stretch of noise; the signal is the height of QRS, squared, over 8, as in `nst`."""
        noise = self.noise(name)
        n = round(mv.shape[1] / rate_hz * 360)
        first = rng.integers(0, noise.shape[1] - n)
        at = np.arange(mv.shape[1]) / rate_hz * 360
        added = np.stack([np.interp(at, np.arange(n), r[first : first + n]) for r in noise])
        added -= added.mean(axis=1, keepdims=True)
        height = np.ptp(np.percentile(mv, [0.5, 99.5], axis=1), axis=0)
        gain = np.sqrt(height**2 / 8 / 10 ** (snr_db / 10)) / added.std(axis=1)
        noisy: Array = mv + gain[:, None] * added
        return noisy


def times(rr_s: float, spread: float, rng: Generator) -> Array:
    """From just before the strip to after its end."""
    rr = rr_s * (1 + spread * rng.normal(size=round(DURATION_S / rr_s) + 8))
    return np.asarray(np.cumsum(rr) - rr_s * (1 + rng.uniform()))


def simulated(waves: tuple[Wave, ...], bpm: float, rate_hz: float, rng: Generator) -> Array:
    """Beats of one heart in leads II and V1; QT follows the root of RR."""
    rr_s = 60 / bpm
    alternans, breath = rng.choice([0, 0, 0.15]), rng.uniform(0, 0.08)
    own = [(w, rng.lognormal(0, 0.1, 3) * w.vector_mv) for w in waves]
    t = np.arange(round(DURATION_S * rate_hz)) / rate_hz
    heart = np.zeros((3, len(t)))
    for k, at in enumerate(times(rr_s, rng.uniform(0.003, 0.02), rng)):
        for wave, vector in own:
            late = np.sqrt(rr_s / 0.86) if wave.centre_s > 0.1 else 1.0
            apart = (t - at - wave.centre_s * late) / (wave.sigma_s * late)
            near = np.abs(apart) < 5
            size = vector * (1 - alternans * (k % 2))
            heart[:, near] += np.outer(size, np.exp(-0.5 * apart[near] ** 2))
    slow = 1 + breath * np.sin(2 * np.pi * (rng.uniform(0.2, 0.4) * t + rng.uniform()))
    leads: Array = (DOWER[LEAD_ROWS] @ heart) * slow
    return leads


def recorded(record: BeatRecord, kind: str, bpm: float, rng: Generator) -> Array:
    """Beats of one class of a record, one after the other; what follows QRS is pressed together."""
    rate, wide = record.sampling_rate_hz, kind == "V"
    before_s, qrs_s, after_s = (0.10, 0.12, 0.42) if wide else (0.07, 0.07, 0.40)
    usual_s = float(np.median(np.diff(record.r_peaks))) / rate
    shorter = min(1.0, np.sqrt(60 / bpm / usual_s)) * (0.8 if bpm > 200 else 1.0)
    end_s = max(qrs_s + (after_s - qrs_s) * shorter, qrs_s + 0.05)
    t = np.arange(-round(before_s * rate), round(end_s * rate)) / rate
    taken = (
        np.where(t <= qrs_s, t, qrs_s + (t - qrs_s) * (after_s - qrs_s) / (end_s - qrs_s)) * rate
    )
    fade = np.minimum(np.clip((t + before_s) / 0.03, 0, 1), np.clip((end_s - t) / 0.06, 0, 1))
    beats = record.r_peaks[record.classes == AAMI_CLASSES.index(kind)]
    beats = beats[(beats > rate) & (beats < record.voltage_mv.shape[1] - rate)]
    first, n = int(rng.integers(len(beats))), round(DURATION_S * rate)
    strip = np.zeros((2, n + len(t)))
    for k, at in enumerate(times(60 / bpm, rng.uniform(0.003, 0.02), rng)):
        start = round(at * rate)
        if not 0 <= start < n:
            continue
        for row, lead in zip(strip, record.voltage_mv, strict=True):
            beat = np.interp(beats[(first + k) % len(beats)] + taken, np.arange(len(lead)), lead)
            row[start : start + len(t)] += (beat - np.linspace(beat[0], beat[-1], len(t))) * fade
    return strip[:, :n]


def tachycardias(data: Data, seed: int) -> Iterator[Made]:
    """Narrow and wide, each pace with each noise."""
    wide_names = [n for n in DS1 if (data.record(n).classes == AAMI_CLASSES.index("V")).sum() >= 40]
    sources: list[tuple[str, str]] = [
        ("narrow", ""),
        ("narrow", ""),
        ("narrow", "N"),
        ("narrow", "N"),
    ]
    sources += [*(("wide", name) for name in WIDE), ("wide", "V"), ("wide", "V")]
    for number, (bpm, (kind, source), (noise, snr_db)) in enumerate(
        (b, s, n) for b in BPM for s in sources for n in NOISES
    ):
        rng = np.random.default_rng([seed, 0, number])
        if source in ("N", "V"):
            name = str(rng.choice(wide_names if source == "V" else DS1))
            mv, rate = recorded(data.record(name), source, bpm, rng), 360.0
            if rng.random() < 0.5:
                mv, rate = resample(mv.astype(np.float32), rate).astype(np.float64), 100.0
        else:
            rate = float(rng.choice([100, 250, 500]))
            mv = simulated(WIDE.get(source, NARROW), bpm, rate, rng)
        mv = data.noisy(mv, rate, rng, noise, snr_db) if noise else mv
        mv = mv + rng.normal(0, 0.01, mv.shape)
        yield Made(f"{kind}, {'up to 190' if bpm <= 190 else '200 to 260'} a minute", mv, rate, bpm)


def tremor(t: Array, rng: Generator) -> Array:
    """A sinusoid of 3 to 12 Hz with overtones, or not; two in three swell and drift."""
    swell, drift = (
        (0.0, 0.0) if rng.random() < 1 / 3 else (rng.uniform(0.1, 0.7), rng.uniform(0, 0.3))
    )
    slow = [np.sin(2 * np.pi * (rng.uniform(0.1, 0.6) * t + rng.uniform())) for _ in range(2)]
    phase = 2 * np.pi * (rng.uniform(3, 12) * t + rng.uniform()) + drift * slow[0]
    over = rng.choice([0.0, rng.uniform(0, 0.35)])
    wave = sum(
        size * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
        for k, size in ((1, 1.0), (2, over), (3, over / 3))
    )
    return np.asarray((1 + swell * slow[1]) * wave)


def tapping(t: Array, rng: Generator) -> Array:
    """Damped swings 2.5 to 6 times a second, no two of the same height."""
    pace_hz, own_hz, decay_s = rng.uniform(2.5, 6), rng.uniform(4, 14), rng.uniform(0.03, 0.12)
    uneven = rng.uniform(0.05, 0.4)
    wave = np.zeros(len(t))
    for at in times(1 / pace_hz, rng.uniform(0.01, 0.08), rng):
        since = np.maximum(t - at, 0)
        size = 1 + uneven * rng.normal()
        wave += size * np.exp(-since / decay_s) * np.sin(2 * np.pi * own_hz * since)
    return np.asarray(wave / np.percentile(np.abs(wave), 99))


def square(t: Array, rng: Generator) -> Array:
    """Half to five waves a second, as they are or as a recorder's high-pass lets them through."""
    duty = 0.5 if rng.random() < 0.5 else rng.uniform(0.1, 0.9)
    wave = np.where((rng.uniform(0.5, 5) * t + rng.uniform()) % 1 < duty, 1.0, -1.0)
    wave = smoothed(wave, rng.uniform(0.0005, 0.02))
    decay_s = rng.choice([np.inf, 3.2, 0.32, 0.1])
    level = np.zeros(len(t))
    keep = np.exp(-1 / SHARP_HZ / decay_s)
    for k in range(1, len(t)):
        level[k] = keep * level[k - 1] + (1 - keep) * wave[k]
    return wave - level


def spikes(t: Array, rng: Generator) -> Array:
    """Pulses of 1 to 25 ms, 50 to 300 a minute, of one phase or two, some with a tail."""
    at = times(60 / rng.uniform(50, 300), rng.choice([0, 0.01]), rng)
    comb = np.zeros(len(t))
    comb[np.round(at[(at > 0) & (at < t[-1])] * SHARP_HZ).astype(int)] = 1
    width = rng.uniform(0.001, 0.025)
    wave = smoothed(comb, width)
    wave = smoothed(wave, width) if rng.random() < 0.5 else wave
    wave = np.gradient(wave) if rng.random() < 0.4 else wave
    wave = wave / np.abs(wave).max()
    if rng.random() < 1 / 3:
        tail = np.exp(-np.arange(round(SHARP_HZ / 2)) / SHARP_HZ / rng.uniform(0.02, 0.2))
        wave = wave - rng.uniform(0.1, 0.4) * np.convolve(comb, tail)[: len(t)]
    return wave


def sawtooth(t: Array, rng: Generator) -> Array:
    """One to five a second, up and down at any two paces."""
    phase, top = (rng.uniform(1, 5) * t + rng.uniform()) % 1, rng.uniform(0.05, 0.95)
    return np.where(phase < top, phase / top, (1 - phase) / (1 - top)) * 2 - 1


def smoothed(wave: Array, width_s: float) -> Array:
    """Mean over a width, at SHARP_HZ."""
    n = max(1, round(width_s * SHARP_HZ))
    return np.convolve(wave, np.ones(n) / n, "same")


def mimic(
    kind: str,
    wave: Callable[[Array, Generator], Array],
    rng: Generator,
    *,
    heart: bool,
    sharp: bool,
) -> Made:
    """One wave in one lead or two, over a sinus rhythm or alone."""
    rate = float(rng.choice([100, 250, 500]))
    made_hz = SHARP_HZ if sharp else rate
    t = np.arange(round(DURATION_S * made_hz)) / made_hz
    row = wave(t, rng).reshape(-1, round(made_hz / rate)).mean(axis=1)
    n_leads = 2 if heart else int(rng.integers(1, 3))
    mv = np.outer(rng.uniform(0.1, 1.5, n_leads) * rng.choice([-1, 1], n_leads), row)
    mv += rng.normal(0, rng.uniform(0.003, 0.03), mv.shape)
    if heart:
        mv += simulated(NORMAL, rng.uniform(60, 100), rate, rng)
    return Made(kind, mv, rate)


def mimics(data: Data, seed: int) -> Iterator[Made]:
    """Everything that is no tachycardia."""
    for number, (kind, wave, n, heart) in enumerate(
        (
            ("tremor", tremor, 450, False),
            ("tremor over sinus rhythm", tremor, 200, True),
            ("tapping", tapping, 150, False),
            ("tapping over sinus rhythm", tapping, 150, True),
            ("square waves", square, 300, False),
            ("spikes", spikes, 300, False),
            ("sawtooth waves", sawtooth, 100, False),
        ),
        start=1,
    ):
        for k in range(n):
            rng = np.random.default_rng([seed, number, k])
            sharp = wave in (square, spikes, sawtooth)
            yield mimic(kind, wave, rng, heart=heart, sharp=sharp)
    n = round(DURATION_S * 360)
    for k in range(450):
        rng = np.random.default_rng([seed, 8, k])
        noise = data.noise(("em", "em", "ma", "bw")[k % 4])
        first = rng.integers(0, noise.shape[1] - n)
        mv = noise[:, first : first + n] * rng.choice([0.5, 1, 2])
        yield Made("NSTDB alone", mv - mv.mean(axis=1, keepdims=True), 360.0)
    for k in range(300):
        rng = np.random.default_rng([seed, 9, k])
        record = data.record(str(rng.choice(DS1)))
        first = rng.integers(0, record.voltage_mv.shape[1] - n)
        mv = record.voltage_mv[:, first : first + n].astype(np.float64)
        name, snr_db = str(rng.choice(["em", "em", "ma"])), float(rng.choice([6, 0, -6]))
        yield Made("DS1 with NSTDB, 6 to -6 dB", data.noisy(mv, 360.0, rng, name, snr_db), 360.0)


def figures(data: Data, seed: int) -> dict[str, Counter[str]]:
    """Count, by kind: strips, those that are answered, told within a tenth, and that alert."""
    reader, settings = StripReader.load(), CriticalSettings()
    counts: dict[str, Counter[str]] = {}
    for made in (*tachycardias(data, seed), *mimics(data, seed)):
        mv = made.voltage_mv.astype(np.float32)
        strip, _ = reader.read(Ecg(mv, LEADS[: len(mv)], made.rate_hz))
        told = [r.value for r in strip.rhythms if r.code == "tachycardia"] if strip else []
        count = counts.setdefault(made.kind, Counter())
        count["strips"] += 1
        count["answered"] += strip is not None
        count["critical"] += bool(critical_rhythms(strip, settings))
        if made.bpm is not None:
            count["told"] += any(abs(value / made.bpm - 1) < 0.1 for value in told)
    return counts


def main() -> None:
    """Make the strips, read them, write the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", type=Path, required=True, help="holds mitdb and nstdb")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    given = parser.parse_args()
    told = {"seed": given.seed, "kinds": figures(Data(given.data_path), given.seed)}
    given.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
