"""How the strip's beats and its gate bear noise: recordings with recorded noise added, by SNR.

The protocol of the WFDB tool `nst` (Moody, Muldrow, Mark, Computers in Cardiology 11:381, 1984):
five clean minutes, then two noisy and two clean ones by turns. A lead's signal is the mean
peak-to-peak height of its QRS, squared, over 8; a noise's power is the square of its mean rms in
seconds; the highest and lowest 5 % of either are left out. Figures are of the noisy minutes alone.

In-sample: the detector's parameters and the gate's limits were set on DS1 too, the latter with
these very noises in minutes 5-7 of ten recordings. They say how it bends, not how it generalises.
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wfdb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model.annotations import (
    DE_CHAZAL_CLASSES,
    Annotations,
    beat_annotations,
    read_annotations,
)
from model.beats import Array, Mask, Samples, detect_r_peaks
from model.datasets.mitbih import DS1, load_record
from model.ec57 import LEARNING_S, Comparison, compare
from model.strip.detector import StripDetector
from model.strip.quality import StripQuality, assess_strip

SNRS_DB = (24.0, 18.0, 12.0, 6.0, 0.0, -6.0)
NOISES = {"bw": "baseline wander", "ma": "muscle", "em": "electrode motion"}
CLEAN_S, PERIOD_S = LEARNING_S, 120.0

_AROUND_QRS_S = 0.05
_TRIM = 0.05

_log = logging.getLogger(__name__)

Detector = Callable[[Array, float], Samples]
# Classes of AAMI_CLASSES, one a beat, of `(n_leads, n_samples)`, its rate and R peaks.
Scorer = Callable[[Array, float, Samples], Sequence[str]]
Gate = Callable[[Array, float], StripQuality]


@dataclass(frozen=True, eq=False)
class Recording:
    """One recording with what experts said.

    Attributes:
        voltage_mv: `(n_leads, n_samples)`.
        reference: beats and flutter.
    """

    voltage_mv: Array
    reference: Annotations


class Stress(NamedTuple):
    """What one noise at one SNR does, over all recordings' noisy minutes.

    Attributes:
        beats: everything that was found, against everything there is.
        answered: the same, in windows that the gate lets through.
        answered_share: of the time.
        classified: whether a scorer gave the beats classes.
    """

    noise: str
    snr_db: float
    beats: Comparison
    answered: Comparison
    answered_share: float
    classified: bool

    def as_json(self) -> dict[str, float | str | None]:
        """Plain figures; None where there was nothing to count; of classes if there are any."""
        figures: dict[str, float] = {"answered_share": self.answered_share}
        for prefix, comparison in (("", self.beats), ("answered_", self.answered)):
            figures[f"{prefix}qrs_sensitivity"] = comparison.qrs.sensitivity
            figures[f"{prefix}qrs_positive_predictivity"] = comparison.qrs.positive_predictivity
            if self.classified:
                figures[f"{prefix}accuracy"] = comparison.accuracy
                figures[f"{prefix}veb_f1"] = comparison.ventricular.f1
                figures[f"{prefix}sveb_f1"] = comparison.supraventricular.f1
        known = {name: None if np.isnan(v) else round(v, 4) for name, v in figures.items()}
        return {"noise": self.noise, "snr_db": self.snr_db, **known}


def noisy_periods(n_samples: int, rate_hz: float) -> Samples:
    """First and one past the last sample of each noisy period, `(k, 2)`."""
    period = round(PERIOD_S * rate_hz)
    first = np.arange(round(CLEAN_S * rate_hz), n_samples, 2 * period, dtype=np.int64)
    return np.column_stack([first, np.minimum(first + period, n_samples)])


def add_noise(
    voltage_mv: Array, r_peaks: Samples, noise_mv: Array, rate_hz: float, snr_db: float
) -> Array:
    """Add `(n_noises, n)` to `(n_leads, n_samples)` in the noisy periods, at the lead's own SNR.

    Leads take the noises by turns; a noise that ends begins anew.
    """
    stressed = np.array(voltage_mv, np.float32)
    periods = noisy_periods(voltage_mv.shape[1], rate_hz)
    for lead, row in enumerate(stressed):
        noise = noise_mv[lead % len(noise_mv)]
        noise = noise - noise.mean()
        signal_mv2 = qrs_height_mv(voltage_mv[lead], r_peaks, rate_hz) ** 2 / 8
        gain = np.sqrt(signal_mv2 / 10 ** (snr_db / 10)) / noise_rms_mv(noise, rate_hz)
        for first, last in periods:
            row[first:last] += np.float32(gain) * noise[np.arange(first, last) % len(noise)]
    return stressed


def qrs_height_mv(row_mv: Array, r_peaks: Samples, rate_hz: float) -> float:
    """Mean peak-to-peak height within 50 ms of the R peaks."""
    reach = round(_AROUND_QRS_S * rate_hz)
    inside = r_peaks[(r_peaks >= reach) & (r_peaks < len(row_mv) - reach)]
    return _trimmed_mean(np.ptp(row_mv[inside[:, None] + np.arange(-reach, reach + 1)], axis=1))


def noise_rms_mv(row_mv: Array, rate_hz: float) -> float:
    """Mean rms of the noise's seconds, each around its own mean."""
    second = round(rate_hz)
    return _trimmed_mean(row_mv[: len(row_mv) // second * second].reshape(-1, second).std(axis=1))


def _trimmed_mean(values: NDArray[np.float32]) -> float:
    cut = round(_TRIM * len(values))
    return float(np.sort(values)[cut : len(values) - cut].mean())


def stress(
    recordings: Iterable[Recording],
    noise: str,
    noise_mv: Array,
    snr_db: float,
    *,
    detect: Detector = detect_r_peaks,
    scorer: Scorer | None = None,
    gate: Gate = assess_strip,
) -> Stress:
    """Measure one noise at one SNR.

    Without a scorer every beat counts as N, and only the figures of QRS say anything.
    """
    beats, answered, shares = [], [], []
    for recording in recordings:
        rate_hz = recording.reference.sampling_rate_hz
        r_peaks, _ = recording.reference.beats(DE_CHAZAL_CLASSES)
        voltage_mv = add_noise(recording.voltage_mv, r_peaks, noise_mv, rate_hz, snr_db)
        found = detect(voltage_mv, rate_hz)
        classes = scorer(voltage_mv, rate_hz, found) if scorer else ["N"] * len(found)
        test = beat_annotations(found, classes, rate_hz)
        quality = gate(voltage_mv, rate_hz)
        noisy = _in_periods(quality.starts, noisy_periods(voltage_mv.shape[1], rate_hz))
        beats.append(_compare_windows(recording.reference, test, quality, noisy))
        answers = noisy & quality.answered
        answered.append(_compare_windows(recording.reference, test, quality, answers))
        shares.append(answers.sum() / max(noisy.sum(), 1))
    return Stress(
        noise,
        snr_db,
        Comparison.gross(beats),
        Comparison.gross(answered),
        float(np.mean(shares)) if shares else np.nan,
        classified=scorer is not None,
    )


def _in_periods(starts: Samples, periods: Samples) -> Mask:
    inside = (starts[:, None] >= periods[:, 0]) & (starts[:, None] < periods[:, 1])
    return np.asarray(inside.any(axis=1), np.bool_)


def _compare_windows(
    reference: Annotations, test: Annotations, quality: StripQuality, chosen: Mask
) -> Comparison:
    """Compare the beats of some windows; flutter keeps its meaning across them."""
    parts = []
    for side in (reference, test):
        beat = np.isin(side.symbols, list(DE_CHAZAL_CLASSES))
        parts.append(side.rows(~beat | chosen[quality.at(side.samples)]))
    return compare(*parts, n_samples=quality.n_samples, start_s=0.0, classes=DE_CHAZAL_CLASSES)


def load_recordings(
    folder: Path, names: Sequence[str] = DS1, *, minutes: float = np.inf
) -> list[Recording]:
    """Read the first minutes of MIT-BIH recordings with all that is annotated, flutter too.

    Raises:
        DatasetError: as `load_record` and `read_annotations`.
    """
    recordings = []
    for name in names:
        reference = read_annotations(folder / name, "atr")
        end = minutes * 60 * reference.sampling_rate_hz
        voltage_mv = load_record(folder, name).voltage_mv
        shown = voltage_mv[:, : round(min(end, voltage_mv.shape[1]))]
        recordings.append(Recording(shown, reference.rows(reference.samples < end)))
    return recordings


def load_noise(folder: Path, name: str) -> Array:
    """Read one of NOISES, `(2, n_samples)` millivolts at the rate of MIT-BIH, 360 Hz."""
    read = wfdb.rdrecord(str(folder / name))
    return np.ascontiguousarray(read.p_signal.T, np.float32)


def plot(rows: Sequence[Stress], path: Path) -> None:
    """Draw QRS figures, all and answered, and the answered share, over SNR; a column a noise."""
    noises = sorted({row.noise for row in rows})
    figure = Figure(figsize=(4 * len(noises), 3.6), layout="constrained")
    all_axes = figure.subplots(1, len(noises), sharey=True, squeeze=False)[0]
    for axes, noise in zip(all_axes, noises, strict=True):
        chosen = sorted((row for row in rows if row.noise == noise), key=lambda row: row.snr_db)
        snrs = [row.snr_db for row in chosen]
        for label, style, values in _lines(chosen):
            axes.plot(snrs, [100 * value for value in values], style, label=label)
        axes.set_title(NOISES[noise], fontsize="medium")
        axes.set_xlabel("SNR (dB)")
        axes.set_xticks(snrs)
        axes.set_ylim(0, 101)
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel("%")
    all_axes[0].legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=120)


def _lines(rows: Sequence[Stress]) -> list[tuple[str, str, list[float]]]:
    return [
        ("QRS sensitivity, all", "C0--", [row.beats.qrs.sensitivity for row in rows]),
        ("QRS +P, all", "C1--", [row.beats.qrs.positive_predictivity for row in rows]),
        ("QRS sensitivity, answered", "C0-", [row.answered.qrs.sensitivity for row in rows]),
        ("QRS +P, answered", "C1-", [row.answered.qrs.positive_predictivity for row in rows]),
        ("time answered", "k:", [row.answered_share for row in rows]),
    ]


def _scorer_of(bundle: Path) -> Scorer:
    detector = StripDetector.load(bundle)
    return lambda voltage_mv, rate_hz, found: detector.read(voltage_mv, rate_hz, found).names


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every noise at every SNR on DS1 and write the figures."""
    parser = argparse.ArgumentParser(description="Noise stress of beat detection on MIT-BIH DS1.")
    parser.add_argument("--data-path", type=Path, required=True, help="holds mitdb and nstdb")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--png", type=Path)
    parser.add_argument("--minutes", type=float, default=30.1, help="of each recording")
    parser.add_argument("--model-path", type=Path, help="strip bundle that classes the beats")
    given = parser.parse_args(arguments)
    scorer = _scorer_of(given.model_path) if given.model_path else None
    recordings = load_recordings(given.data_path / "mitdb", minutes=given.minutes)
    rows = []
    for noise in NOISES:
        noise_mv = load_noise(given.data_path / "nstdb", noise)
        for snr_db in SNRS_DB:
            rows.append(stress(recordings, noise, noise_mv, snr_db, scorer=scorer))
            _log.info("%s", rows[-1].as_json())
    figures = {
        "records": list(DS1),
        "minutes": given.minutes,
        "in_sample": "parameters of detector and gate were set on DS1, the gate's with this noise; "
        "a shipped bundle has learnt from these beats",
        "model": str(given.model_path.name) if given.model_path else None,
        "rows": [row.as_json() for row in rows],
    }
    given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if given.png:
        plot(rows, given.png)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
