"""Simulated 12-lead ECGs for the demo and the tests. They are labelled as such and train nothing.

Each wave is a Gaussian event in time, as in McSharry et al., IEEE Trans Biomed Eng 50:289 (2003),
but it moves a heart vector instead of one trace. Dower's matrix (Dower et al., J Electrocardiol
13:13, 1980) carries the vector to the leads, so the limb leads obey Einthoven and the chest leads
progress as they do on one heart. Noise arises at the electrodes and obeys the same arithmetic.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from model.ecg import LEADS_12, MAX_RATE_HZ, MAX_SAMPLES, MIN_RATE_HZ, Ecg
from model.errors import EcgError

Array = NDArray[np.float64]

RESOLUTION_MV = 0.0025  # 2.5 uV a step, a usual recorder's

# Heart vector in millivolts, x to the patient's left, y to the feet, z to the back.
DOWER = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)
ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")


@dataclass(frozen=True)
class Wave:
    """One event: its centre and width (sigma) in seconds from the R peak, its peak vector in mV."""

    centre_s: float
    sigma_s: float
    vector_mv: tuple[float, float, float]


P = (Wave(-0.172, 0.017, (0.03, 0.06, -0.05)), Wave(-0.146, 0.019, (0.06, 0.06, 0.03)))
QRS = (
    Wave(-0.026, 0.008, (-0.12, 0.02, -0.20)),  # septum, to the right and the front: r in V1
    Wave(-0.004, 0.011, (1.02, 0.75, 0.20)),  # free wall of the left ventricle
    Wave(0.017, 0.011, (0.10, -0.05, 0.58)),  # base, to the back: S in V1 to V3
)
T = (Wave(0.235, 0.050, (0.17, 0.12, -0.09)), Wave(0.280, 0.033, (0.19, 0.12, -0.08)))
NORMAL = (*P, *QRS, *T)

LBBB = (
    *P,
    Wave(-0.030, 0.014, (0.35, 0.30, 0.25)),  # the septum is crossed from right to left: no q
    Wave(0.005, 0.020, (0.75, 0.35, 0.80)),
    Wave(0.055, 0.022, (0.90, 0.15, 0.85)),  # late left ventricle: the notch and 150 ms in all
    Wave(0.160, 0.060, (-0.10, -0.02, -0.15)),  # ST and T against the QRS
    Wave(0.310, 0.050, (-0.30, -0.08, -0.32)),
)
INFERIOR_ST_ELEVATION = (
    *P,
    Wave(-0.026, 0.011, (-0.02, -0.30, -0.16)),  # Q in II, III and aVF
    *QRS[1:],
    Wave(0.070, 0.026, (-0.03, 0.17, 0.01)),  # injury current to the feet; aVL mirrors it
    Wave(0.140, 0.042, (-0.05, 0.24, -0.01)),
    Wave(0.230, 0.042, (0.08, 0.32, -0.05)),
)
LEFT_VENTRICULAR_HYPERTROPHY = (
    Wave(-0.172, 0.019, (0.03, 0.07, -0.04)),
    Wave(-0.138, 0.024, (0.09, 0.06, 0.09)),  # a broad left atrium, deep in V1
    Wave(-0.030, 0.009, (-0.14, 0.02, -0.22)),
    Wave(-0.002, 0.014, (2.05, 0.70, 0.55)),  # S in V1 + R in V5 beyond 3.5 mV (Sokolow-Lyon)
    Wave(0.027, 0.012, (0.25, -0.12, 0.85)),
    Wave(0.120, 0.050, (-0.10, -0.02, -0.08)),  # strain
    Wave(0.265, 0.048, (-0.30, -0.04, -0.20)),
)
ECTOPIC = (  # from the right ventricular outflow: wide, down to the feet, T against it
    Wave(-0.016, 0.020, (0.25, 0.80, 0.45)),
    Wave(0.028, 0.025, (0.30, 1.05, 0.95)),
    Wave(0.180, 0.060, (-0.10, -0.25, -0.22)),
    Wave(0.310, 0.060, (-0.20, -0.45, -0.38)),
)


@dataclass(frozen=True)
class Rhythm:
    """How beats follow each other.

    Attributes:
        rr_s: mean interval between beats.
        spread: standard deviation of the interval as a share of it.
        respiratory: whether breathing paces the spread (sinus) or nothing does (fibrillation).
        ectopic_every: the mean number of beats to a premature one, or 0.
    """

    rr_s: float
    spread: float = 0.03
    respiratory: bool = True
    ectopic_every: int = 0


@dataclass(frozen=True)
class Recipe:
    """One kind of ECG: its rhythm, its beat, and what reaches the electrodes besides the heart."""

    rhythm: Rhythm
    waves: tuple[Wave, ...] = NORMAL
    fibrillation_mv: float = 0.0
    muscle_mv: float = 0.006
    motion_mv: float = 0.0
    lead_off: str = ""


SINUS = Rhythm(rr_s=0.86)
RECIPES = {
    "normal": Recipe(SINUS),
    "sinus-tachycardia": Recipe(Rhythm(rr_s=0.50, spread=0.012)),
    "sinus-bradycardia": Recipe(Rhythm(rr_s=1.30, spread=0.04)),
    "atrial-fibrillation": Recipe(
        Rhythm(rr_s=0.66, spread=0.22, respiratory=False), (*QRS, *T), fibrillation_mv=0.06
    ),
    "ventricular-ectopy": Recipe(Rhythm(rr_s=0.84, ectopic_every=4)),
    "left-bundle-branch-block": Recipe(SINUS, LBBB),
    "inferior-st-elevation": Recipe(Rhythm(rr_s=0.80), INFERIOR_ST_ELEVATION),
    "left-ventricular-hypertrophy": Recipe(SINUS, LEFT_VENTRICULAR_HYPERTROPHY),
    "noisy": Recipe(SINUS, muscle_mv=0.5, motion_mv=0.7),
    "lead-off": Recipe(SINUS, lead_off="V3"),
}
KINDS = tuple(RECIPES)


def simulate(
    kind: str,
    *,
    seed: int,
    sampling_rate_hz: float = 500.0,
    duration_s: float = 10.0,
    start: datetime | None = None,
) -> Ecg:
    """Make one ECG of a kind in KINDS; the same arguments always make the same samples.

    Raises:
        EcgError: `kind-unknown`, `rate-out-of-range`, `samples-out-of-range`, `time-naive`.
    """
    if kind not in RECIPES:
        raise EcgError("kind-unknown", f"choose one of {', '.join(KINDS)}")
    if not MIN_RATE_HZ <= sampling_rate_hz <= MAX_RATE_HZ:
        raise EcgError("rate-out-of-range", f"{sampling_rate_hz:g} Hz")
    if not 1 <= duration_s <= MAX_SAMPLES / sampling_rate_hz:
        raise EcgError("samples-out-of-range", f"{duration_s:g} s; a second is the least")
    recipe = RECIPES[kind]
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    time_s = np.arange(round(duration_s * sampling_rate_hz)) / sampling_rate_hz
    breath = np.sin(2 * np.pi * (rng.uniform(0.2, 0.3) * time_s + rng.uniform()))
    heart_mv = _heart(recipe, time_s, rng) * (1 + 0.04 * breath)
    if recipe.fibrillation_mv:
        heart_mv += _fibrillation(time_s, recipe.fibrillation_mv, rng)
    independent_mv = DOWER @ heart_mv
    electrodes_mv = _electrode_noise(recipe, time_s, sampling_rate_hz, breath, rng)
    leads_mv = _twelve(independent_mv) + _from_electrodes(electrodes_mv)
    if recipe.lead_off:
        leads_mv[LEADS_12.index(recipe.lead_off)] = 0.0
    steps = np.round(leads_mv / RESOLUTION_MV)
    return Ecg(
        (steps * RESOLUTION_MV).astype(np.float32),
        LEADS_12,
        sampling_rate_hz,
        start,
        (RESOLUTION_MV,) * len(LEADS_12),
    )


def _heart(recipe: Recipe, time_s: Array, rng: Generator) -> Array:
    """Sum the waves of all beats, `(3, n_samples)`."""
    waves = [_individual(wave, rng) for wave in recipe.waves]
    ectopic = [_individual(wave, rng) for wave in ECTOPIC]
    heart_mv = np.zeros((3, len(time_s)))
    for peak_s, rr_s, premature in _beat_times(recipe.rhythm, float(time_s[-1]), rng):
        # QT follows the root of the RR interval (Bazett); P and QRS keep their place.
        stretch = np.sqrt(np.clip(rr_s, 0.4, 1.4) / 0.86)
        for wave in ectopic if premature else waves:
            late = stretch if wave.centre_s > 0.1 else 1.0
            centre_s, sigma_s = peak_s + wave.centre_s * late, wave.sigma_s * late
            _add(heart_mv, time_s, replace(wave, centre_s=centre_s, sigma_s=sigma_s))
    return heart_mv


def _add(heart_mv: Array, time_s: Array, wave: Wave) -> None:
    """Add one wave whose centre is a time of the recording."""
    reach_s = 5 * wave.sigma_s
    first, last = np.searchsorted(time_s, [wave.centre_s - reach_s, wave.centre_s + reach_s])
    shape = np.exp(-0.5 * ((time_s[first:last] - wave.centre_s) / wave.sigma_s) ** 2)
    heart_mv[:, first:last] += np.outer(wave.vector_mv, shape)


def _individual(wave: Wave, rng: Generator) -> Wave:
    """Vary a wave as it varies between people."""
    x, y, z = np.array(wave.vector_mv) * rng.lognormal(0, 0.10, 3)
    return replace(
        wave,
        sigma_s=wave.sigma_s * rng.lognormal(0, 0.03),
        vector_mv=(float(x), float(y), float(z)),
    )


def _beat_times(rhythm: Rhythm, end_s: float, rng: Generator) -> list[tuple[float, float, bool]]:
    """Return (R peak, interval before it, premature) from just before the start to after the end.

    A premature beat comes at 0.55 of the interval; the pause after it makes two intervals whole.
    """
    breath_hz, phase = rng.uniform(0.2, 0.3), rng.uniform(0, 2 * np.pi)
    rr_mean_s = rhythm.rr_s * rng.normal(1, 0.03)
    beats: list[tuple[float, float, bool]] = []
    peak_s, since_ectopic = -rng.uniform(0.2, 1.0) * rr_mean_s, 0
    while peak_s < end_s + 1:
        breath = np.sin(2 * np.pi * breath_hz * peak_s + phase)
        draw = breath + rng.normal(0, 0.3) if rhythm.respiratory else rng.normal()
        rr_s = rr_mean_s * float(np.clip(1 + rhythm.spread * draw, 0.5, 1.8))
        since_ectopic += 1
        if rhythm.ectopic_every and since_ectopic >= rhythm.ectopic_every:
            since_ectopic = -int(rng.integers(0, 2))
            beats.append((peak_s + 0.55 * rr_s, 0.55 * rr_s, True))
            peak_s += 2 * rr_s
        else:
            peak_s += rr_s
        beats.append((peak_s, rr_s, False))
    return beats


def _fibrillation(time_s: Array, peak_mv: float, rng: Generator) -> Array:
    """Atrial f waves: 4 to 9 a second, wandering in rate and size, largest in V1 and II."""
    rate_hz = rng.uniform(5.5, 7.5) + 0.8 * np.sin(2 * np.pi * (0.3 * time_s + rng.uniform()))
    phase = 2 * np.pi * np.cumsum(rate_hz) * (time_s[1] - time_s[0])
    size = peak_mv * (1 + 0.4 * np.sin(2 * np.pi * (0.45 * time_s + rng.uniform())))
    wave = np.sin(phase) + 0.3 * np.sin(2 * phase + 0.5)
    quadrature = np.cos(phase + 0.4)
    vector_mv: Array = size * np.stack([0.2 * wave, 0.7 * wave, 0.2 * quadrature - 0.8 * wave])
    return vector_mv


def _electrode_noise(
    recipe: Recipe, time_s: Array, rate_hz: float, breath: Array, rng: Generator
) -> Array:
    """Potential of each electrode that is not the heart's, `(9, n_samples)` in millivolts."""
    shape = (len(ELECTRODES), len(time_s))
    muscle = _band(rng.standard_normal(shape), (20.0, min(150.0, 0.45 * rate_hz)), rate_hz)
    noise_mv = recipe.muscle_mv * muscle + rng.normal(0, 0.03, (shape[0], 1)) * breath
    for hz in (0.07, 0.13, 0.31):
        phase = rng.uniform(size=(shape[0], 1))
        noise_mv += rng.normal(0, 0.02, (shape[0], 1)) * np.sin(2 * np.pi * (hz * time_s + phase))
    if recipe.motion_mv:
        noise_mv += recipe.motion_mv * _band(rng.standard_normal(shape), (0.5, 8.0), rate_hz)
    return noise_mv


def _band(noise: Array, band_hz: tuple[float, float], rate_hz: float) -> Array:
    """Keep a band of white noise and give it an rms of 1."""
    kept = sosfilt(butter(2, band_hz, "bandpass", fs=rate_hz, output="sos"), noise, axis=1)
    result: Array = kept / kept.std(axis=1, keepdims=True)
    return result


def _twelve(independent_mv: Array) -> Array:
    """Complete I, II, V1..V6 with III, aVR, aVL and aVF."""
    first, second = independent_mv[:2]
    derived = [second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.stack([first, second, *derived, *independent_mv[2:]])


def _from_electrodes(electrodes_mv: Array) -> Array:
    """Leads of electrode potentials: I = LA - RA, II = LL - RA, V = electrode - Wilson terminal."""
    right, left, foot = electrodes_mv[:3]
    chest = electrodes_mv[3:] - (right + left + foot) / 3
    return _twelve(np.vstack([left - right, foot - right, chest]))
