"""A ward whose monitors send packets of a second, and what listeners and workers do with them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from integration.critical import CriticalSettings
from model.alarms import DEFAULT_RULES
from model.ecg import Ecg
from model.findings import Beat, Findings, ModelIdentity, Quality, RhythmFinding, StripFindings
from worker.monitoring import read_on
from worker.pipeline import Rules, score_exam

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RATE = 250
MODEL = ModelIdentity("strip", "1", "cd" * 32)
USUAL = CriticalSettings()
FLAT = np.zeros((1, 400 * RATE), np.float32)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


@dataclass
class Beating:
    """Stands for the strip model: a beat in the middle of each second; what else is told of it.

    Attributes:
        af: from when to when.
        fast: where three beats a second are seen.
        pauses: each from when to when.
        blind: whether an exam cannot be read.
    """

    af: tuple = ()
    fast: tuple = ()
    pauses: tuple = ()
    blind: bool = False
    breaks: bool = False
    asked: int = 0
    identity = MODEL

    def read(self, ecg):
        self.asked += 1
        if self.breaks:
            raise RuntimeError("killed")
        start = (ecg.start - T0).total_seconds()
        end, middle = start + ecg.duration_s, start + ecg.duration_s / 2
        a_second = 3 if _within(middle, self.fast) else 1
        times = [(n + 0.5) / a_second - start for n in range(int(end + 1) * a_second)]
        beats = tuple(Beat(t, "N", 1.0, 0.0) for t in times if 0 <= t < ecg.duration_s)
        af = RhythmFinding("AF", 0.0, ecg.duration_s, 0.9, 0.5)
        rhythms = (af,) if _within(middle, self.af) else ()
        rhythms += tuple(
            RhythmFinding("pause", begun - start, over - start, over - begun, 3.0)
            for begun, over in self.pauses
            if start <= begun and over <= end
        )
        strip = StripFindings(MODEL, ecg.leads, 60.0, beats, rhythms, ())
        return strip, Quality("good")

    def score(self, ecg):
        if self.blind:
            return Findings(Quality("unscorable", ("no-readable-lead",)), MODEL)
        strip, quality = self.read(ecg)
        return Findings(quality, MODEL, strip=strip)


def _within(moment, stretches):
    return any(begin <= moment < end for begin, end in stretches)


class Site:
    """A database, and the steps that listeners and workers do."""

    def __init__(self, store, reader, destinations=("fhir",)):
        self.store, self.reader = store, reader
        self.rules = Rules(destinations, max_attempts=5)

    def arrive(self, signal, seconds, *, now_s=None, patient="P1", again="", shift_s=0.0):
        """Packets of a second; each arrives when it ends, or at `now_s`."""
        for second in seconds:
            piece = np.ascontiguousarray(signal[:, second * RATE : (second + 1) * RATE])
            start = at(second + shift_s)
            now = at(second + 1 if now_s is None else now_s)
            ecg = Ecg(piece, ("II",), float(RATE), start)
            raw = f"{patient} {second} {again}".encode()
            message = NewMessage.whole("mllp", "MONITOR^ICU", f"{patient}{second}{again}", raw, now)
            exam = NewExam(PatientRef(patient), ecg, start)
            self.store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]))

    def read(self, now_s, *, lease_s=60.0):
        """Read on with everything that is due; returns the exams that it made."""
        self.store.adopt_packets(10_000)
        made = []
        for _ in range(1000):
            streams = self.store.claim_streams(at(now_s), 100, lease_s)
            if not streams:
                return made
            for stream_id in streams:
                exams = read_on(
                    self.store, self.reader, DEFAULT_RULES, stream_id, at(now_s), critical=USUAL
                )
                made += exams
                self.score(exams)
        raise AssertionError("never done")

    def score(self, exams):
        for id_ in exams:
            score_exam(self.store, self.reader, id_, self.rules)

    def watch(self, first, last):
        """Ten seconds after the other arrive and are read; returns the exams that it made."""
        made = []
        for second in range(first, last, 10):
            self.arrive(FLAT, range(second, second + 10))
            made += self.read(second + 10)
        return made

    def windows(self):
        return [w for _, w in reversed(self.store.find_windows(limit=10_000))]

    def beats(self):
        return [when for window in self.windows() for when, _ in window.beats]


def observation(report):
    """What a report says of its episode."""
    return next(
        e["resource"]
        for e in report.bundle["entry"]
        if e["resource"]["id"] == f"{report.exam_id}-episode"
    )
