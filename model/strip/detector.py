"""From a strip to findings: beats with class and anomaly score, and rhythm. ONNX Runtime only.

What may be read is the gate's question (`model.strip.quality`), which puts NaN where it may not.
Hours are read piece by piece.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model.beats import detect_r_peaks
from model.ecg import Ecg
from model.errors import BundleError
from model.findings import AAMI_CLASSES, Beat, ModelIdentity, StripFindings
from model.strip.af import AfModel
from model.strip.anomaly import beat_views
from model.strip.card import GRAPH, SHIPPED, StripBundle, StripCard, load_strip
from model.strip.inputs import beat_inputs
from model.strip.reading import Measure, Measured, SequenceBatch, read_beats
from model.strip.rhythm import read_rhythm

Array = NDArray[np.float32]
Samples = NDArray[np.int64]
Scores = NDArray[np.float64]

PIECE_S = 3_600.0
_MARGIN_S = 5.0


@dataclass(frozen=True, eq=False)
class BeatReading:
    """Every beat of a strip.

    Attributes:
        r_peaks: `(n,)` samples.
        log_probabilities: `(n, 5)` calibrated, by AAMI_CLASSES.
        classes: `(n,)` indices into AAMI_CLASSES.
        anomaly: `(n,)` share of normal beats that are less unusual.
        attention: `(n,)` sums to 1: where an ectopic beat is seen.
    """

    r_peaks: Samples
    log_probabilities: Scores
    classes: Samples
    anomaly: Scores
    attention: Scores

    @property
    def names(self) -> tuple[str, ...]:
        """Classes by name."""
        return tuple(AAMI_CLASSES[k] for k in self.classes)


class StripDetector:
    """A verified strip bundle, ready to score; threads may share it, each call takes one core."""

    def __init__(self, bundle: StripBundle, measure: Measure | None = None) -> None:
        self.card: StripCard = bundle.card
        self.identity: ModelIdentity = bundle.identity
        self.af = AfModel.from_tensors(dict(bundle.tensors))
        self._measure = measure or open_graph(bundle)

    @classmethod
    def load(cls, bundle: Path | None = None) -> Self:
        """Load a bundle folder, or the shipped one.

        Raises:
            BundleError: the folder is not a sound bundle.
        """
        return cls(load_strip(bundle or SHIPPED))

    def score(self, ecg: Ecg, r_peaks: Samples | None = None) -> StripFindings:
        """Read 1-12 leads at 100-1000 Hz, from a few seconds to a day.

        Args:
            ecg: the strip.
            r_peaks: its R peaks, where they are known already.

        Raises:
            EcgError: `rate-out-of-range`.
        """
        reading = self.read(ecg.voltage_mv, ecg.sampling_rate_hz, r_peaks)
        times_s = reading.r_peaks / ecg.sampling_rate_hz
        rhythm = read_rhythm(
            self.af,
            ecg.voltage_mv,
            ecg.leads,
            ecg.sampling_rate_hz,
            beat_times_s=times_s,
            aami_classes=reading.names,
        )
        probabilities = np.exp(reading.log_probabilities)
        return StripFindings(
            model=self.identity,
            leads=ecg.leads,
            heart_rate_bpm=rhythm.heart_rate_bpm,
            beats=tuple(
                Beat(float(time_s), AAMI_CLASSES[k], float(row[k]), float(score))
                for time_s, k, row, score in zip(
                    times_s, reading.classes, probabilities, reading.anomaly, strict=True
                )
            ),
            rhythms=rhythm.rhythms,
            attention=rhythm.attention if rhythm.rhythms else tuple(reading.attention.tolist()),
        )

    def read(
        self, voltage_mv: Array, sampling_rate_hz: float, r_peaks: Samples | None = None
    ) -> BeatReading:
        """Read the beats of `(n_leads, n_samples)`; R peaks are detected where none are given.

        Raises:
            EcgError: `samples-malformed`, `rate-out-of-range`.
        """
        if r_peaks is None:
            r_peaks = detect_r_peaks(voltage_mv, sampling_rate_hz)
        n_pieces = max(1, round(voltage_mv.shape[1] / sampling_rate_hz / PIECE_S))
        cuts = np.linspace(0, voltage_mv.shape[1], n_pieces + 1).astype(np.int64)
        parts = [
            self._piece(
                voltage_mv,
                sampling_rate_hz,
                r_peaks[(r_peaks >= first) & (r_peaks < last)],
                (int(first), int(last)),
            )
            for first, last in pairwise(cuts)
        ]
        log_probabilities, anomaly, attention = (
            np.concatenate([part[i] for part in parts]) for i in range(3)
        )
        return BeatReading(
            r_peaks=r_peaks,
            log_probabilities=log_probabilities,
            classes=self.card.calibration.classes(log_probabilities),
            anomaly=anomaly,
            attention=attention / max(attention.sum(), np.finfo(float).tiny),
        )

    def _piece(
        self, voltage_mv: Array, rate_hz: float, peaks: Samples, bounds: tuple[int, int]
    ) -> tuple[Scores, Scores, Scores]:
        """Log probabilities, anomaly scores and attention of the beats between two samples."""
        margin = round(_MARGIN_S * rate_hz)
        start = max(bounds[0] - margin, 0)
        inputs = beat_inputs(
            voltage_mv[:, start : bounds[1] + margin], rate_hz, (peaks - start) / rate_hz
        )
        outputs = read_beats(self._measure, inputs)
        calibrated = self.card.calibration.log_probabilities(outputs.log_probabilities)
        views = beat_views(inputs, outputs.errors, calibrated)
        return calibrated, self.card.anomaly.score(views), outputs.attention * len(peaks)


def open_graph(bundle: StripBundle, threads: int = 1) -> Measure:
    """The bundle's graph as a function.

    Raises:
        BundleError: `graph-missing`, `graph-malformed`, or `graph-unknown` where it reads
            something else than this version gives.
    """
    if GRAPH not in bundle.graphs:
        raise BundleError("graph-missing", f"the bundle has no {GRAPH}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            bundle.graphs[GRAPH], options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's errors have no common base of their own
        raise BundleError("graph-malformed", f"{GRAPH} cannot be opened") from error
    if {i.name for i in session.get_inputs()} != set(SequenceBatch._fields):
        raise BundleError("graph-unknown", f"hisbundle export writes {GRAPH} for this version")

    def measure(batch: SequenceBatch) -> Measured:
        return Measured(*session.run(None, batch._asdict()))

    return measure
