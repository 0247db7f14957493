"""A monitor's packets become windows and episodes: one report at the onset, one version at the end.

Fibrillation is simulated and read by the shipped model; where the reading does not matter, a reader
says what the test wants.
"""

import random
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.review import Reviews
from model.alarms import DEFAULT_RULES
from model.assessor import StripReader
from model.ecg import Ecg
from model.findings import Beat, Findings, ModelIdentity, Quality, RhythmFinding, StripFindings
from model.simulate import simulate
from worker.monitoring import CRASHED, MAX_ATTEMPTS, read_on, tell_ends
from worker.pipeline import Rules, score_exam

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RATE = 250
MODEL = ModelIdentity("strip", "1", "cd" * 32)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


def recording(*parts):
    """Lead II of one patient, of parts (kind, seconds) in a row."""
    made = [
        simulate(kind, seed=n, sampling_rate_hz=float(RATE), duration_s=float(seconds))
        for n, (kind, seconds) in enumerate(parts)
    ]
    return np.hstack([ecg.voltage_mv[[ecg.leads.index("II")]] for ecg in made])


@dataclass
class Beating:
    """Stands for the strip model: a beat in the middle of each second, AF where it is told."""

    af: tuple = ()
    breaks: bool = False
    asked: int = 0
    identity = MODEL

    def read(self, ecg):
        self.asked += 1
        if self.breaks:
            raise RuntimeError("killed")
        start = (ecg.start - T0).total_seconds()
        times = [n + 0.5 - start for n in range(int(start + ecg.duration_s) + 1)]
        beats = tuple(Beat(t, "N", 1.0, 0.0) for t in times if 0 <= t < ecg.duration_s)
        in_af = any(begin <= start + ecg.duration_s / 2 < end for begin, end in self.af)
        rhythms = (RhythmFinding("AF", 0.0, ecg.duration_s, 0.9, 0.5),) if in_af else ()
        strip = StripFindings(MODEL, ecg.leads, 60.0, beats, rhythms, ())
        return strip, Quality("good")

    def score(self, ecg):
        strip, quality = self.read(ecg)
        return Findings(quality, MODEL, strip=strip)


class Site:
    """A database, and the steps that listeners and workers do."""

    def __init__(self, store, reader, destinations=("fhir",)):
        self.store, self.reader, self.destinations = store, reader, destinations

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
                exams = read_on(self.store, self.reader, DEFAULT_RULES, stream_id, at(now_s))
                made += exams
                self.score(exams)
        raise AssertionError("never done")

    def score(self, exams):
        for id_ in exams:
            score_exam(
                self.store, self.reader, id_, Rules(destinations=self.destinations, max_attempts=5)
            )

    def windows(self):
        return [w for _, w in reversed(self.store.find_windows(limit=10_000))]

    def beats(self):
        return [when for window in self.windows() for when, _ in window.beats]


class Shipped(StripReader):
    """The shipped strip model, also as what scores an exam."""

    def score(self, ecg):
        return self.examine(ecg)[0]


@pytest.fixture(scope="module")
def shipped():
    return Shipped.load()


@pytest.fixture
def site(store):
    return lambda reader: Site(store, reader)


def observation(report):
    return next(
        e["resource"]
        for e in report.bundle["entry"]
        if e["resource"]["id"] == f"{report.exam_id}-episode"
    )


FLAT = np.zeros((1, 400 * RATE), np.float32)
EVERY_SECOND = [at(n + 0.5) for n in range(120)]


def test_an_af_episode_is_one_flagged_report_with_onset_and_then_its_duration(site, shipped):
    own = site(shipped)
    signal = recording(("normal", 60), ("atrial-fibrillation", 120), ("normal", 150))
    made = []
    for second in range(0, 330, 5):
        own.arrive(signal, range(second, second + 5))
        made += own.read(second + 5)
        tell_ends(own.store, at(second + 5))
    (exam_id,) = made
    total, _ = own.store.search_reports()
    assert total == 1
    end, onset = own.store.versions_of(exam_id)
    assert (onset.status, end.status) == (ReportStatus.PRELIMINARY, ReportStatus.PRELIMINARY)
    began = datetime.fromisoformat(observation(onset)["effectivePeriod"]["start"])
    assert abs((began - at(60)).total_seconds()) <= 15
    assert "end" not in observation(onset)["effectivePeriod"]
    period = observation(end)["effectivePeriod"]
    ended = datetime.fromisoformat(period["end"])
    assert abs((ended - at(180)).total_seconds()) <= 15
    assert abs((ended - datetime.fromisoformat(period["start"])).total_seconds() - 120) <= 20
    text = end.bundle["entry"][0]["resource"]["conclusion"]
    assert "fibrillation" in text
    assert [d.destination for d in own.store.deliveries_of(exam_id)] == ["fhir", "fhir"]
    assert len(own.windows()) >= 30  # each is stored, none of them reported


def test_each_beat_counts_once_whatever_the_windows(site):
    own = site(Beating())
    for second in range(120):
        own.arrive(FLAT, [second])
        own.read(second + 1)
    own.read(200)  # nothing came for long
    assert own.beats() == EVERY_SECOND


def test_order_repetition_and_a_late_start_change_nothing(site):
    own = site(Beating())
    shuffled = list(range(120))
    random.Random(1).shuffle(shuffled)
    own.arrive(FLAT, shuffled, now_s=120)
    own.arrive(FLAT, range(0, 120, 7), now_s=120, again="again")
    own.read(200)
    assert own.beats() == EVERY_SECOND
    assert not any(window.overlapping for window in own.windows())


def test_a_window_is_read_as_soon_as_it_is_whole(site):
    own = site(Beating())
    own.arrive(FLAT, range(20))
    own.read(20)
    before = len(own.windows())
    own.arrive(FLAT, range(20, 30))
    own.read(30)
    assert len(own.windows()) == before + 1


def test_a_missing_packet_is_waited_for_three_seconds_and_then_late(site, store):
    own = site(Beating())
    own.arrive(FLAT, [*range(17), 18, 19, 20])
    own.read(21)
    waiting = own.windows()
    own.arrive(FLAT, range(21, 40))
    own.read(40)
    assert len(own.windows()) > len(waiting)
    shares = [window.share for window in own.windows()]
    assert min(shares) < 0.96
    own.arrive(FLAT, [17], now_s=41)
    own.read(41)
    assert [window.share for window in own.windows()] == shares
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT late FROM stream").scalar() == 1


def test_a_gap_stays_a_gap(site):
    own = site(Beating())
    own.arrive(FLAT, range(40))
    own.arrive(FLAT, range(100, 140))
    own.read(200)
    assert {w.start for w in own.windows()} == {
        w.start for w in own.windows() if w.start < at(45) or w.start > at(75)
    }
    inside = [b for b in own.beats() if at(41) < b < at(99)]
    assert inside == []


def test_patients_are_never_mixed(site, store):
    own = site(Beating())
    own.arrive(FLAT, range(40), patient="P1")
    own.arrive(FLAT, range(40), patient="P2")
    own.read(100)
    for patient in ("P1", "P2"):
        found = store.find_windows(patient=patient, limit=100)
        assert [b for _, w in reversed(found) for b, _ in w.beats] == EVERY_SECOND[:40]


def test_an_episode_survives_a_new_worker_at_every_step_and_is_told_once(site, store):
    made = []
    for second in range(0, 240, 10):
        own = site(Beating(af=((50, 130),)))  # knows nothing but what is in the database
        own.arrive(FLAT, range(second, second + 10))
        made += own.read(second + 10)
    (exam_id,) = made
    assert tell_ends(store, at(240)) == 1
    assert tell_ends(store, at(241)) == 0
    assert len(store.versions_of(exam_id)) == 2
    (_, window), *_ = store.find_windows(flag="AF", limit=1)
    assert window.rhythms[0].code == "AF"


def test_a_crash_between_the_version_and_its_note_tells_the_end_once(site, store, monkeypatch):
    made = []
    for second in range(0, 240, 10):
        own = site(Beating(af=((50, 130),)))
        own.arrive(FLAT, range(second, second + 10))
        made += own.read(second + 10)
    (exam_id,) = made
    with monkeypatch.context() as crash:
        crash.setattr(type(store), "note_end_told", lambda *_: None)
        assert tell_ends(store, at(240)) == 1
    assert tell_ends(store, at(241)) == 0
    assert len(store.versions_of(exam_id)) == 2


def test_an_episode_that_ended_before_its_report_was_made_is_one_version(site, store):
    own = site(Beating(af=((50, 130),)))
    own.arrive(FLAT, range(240))
    own.score = lambda _: None  # the task is late
    (exam_id,) = own.read(240)
    assert tell_ends(store, at(240)) == 0
    Site.score(own, [exam_id])
    assert tell_ends(store, at(241)) == 0
    (only,) = store.versions_of(exam_id)
    assert "end" in observation(only)["effectivePeriod"]


def test_what_a_clinician_has_decided_on_stays_as_it_is(site, store):
    own = site(Beating(af=((50, 130),)))
    made = []
    for second in range(0, 120, 10):
        own.arrive(FLAT, range(second, second + 10))
        made += own.read(second + 10)
    (exam_id,) = made
    review = Review(Decision.CONFIRM, Reviewer(value="DR1"), at(121))
    Reviews(store, None).decide(exam_id, review, actor="EHR")
    own.arrive(FLAT, range(120, 260))
    own.read(260)
    assert tell_ends(store, at(260)) == 0
    assert store.read_report(exam_id).status is ReportStatus.FINAL


def test_a_signal_that_is_lost_ends_an_episode_where_it_was_last_seen(site, store):
    own = site(Beating(af=((50, 10_000),)))
    made = []
    for second in range(0, 120, 10):
        own.arrive(FLAT, range(second, second + 10))
        made += own.read(second + 10)
    own.read(160)
    own.read(500)
    tell_ends(store, at(501))
    (exam_id,) = made
    newest = store.read_report(exam_id)
    ended = datetime.fromisoformat(observation(newest)["effectivePeriod"]["end"])
    assert at(105) <= ended <= at(120)
    assert "signal was lost" in newest.bundle["entry"][0]["resource"]["conclusion"]


def test_two_workers_at_once_make_each_window_and_each_episode_once(site, store):
    for patient in "ABCD":
        site(Beating()).arrive(FLAT, range(200), patient=patient)
    made, errors = [], []

    def work():
        own = site(Beating(af=((50, 130),)))
        try:
            # A lease that has always run out: both read on with the same streams.
            made.extend(own.read(400, lease_s=-1.0))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(made) == len(set(made)) == 4
    for patient in "ABCD":
        windows = [w for _, w in store.find_windows(patient=patient, limit=100)]
        assert len(windows) == len({w.start for w in windows})
        beats = [b for w in reversed(windows) for b, _ in w.beats]
        assert beats == [at(n + 0.5) for n in range(200)]


def test_a_window_that_kills_its_worker_is_left_out(site, store):
    own = site(Beating(breaks=True))
    own.arrive(FLAT, range(30))
    store.adopt_packets(100)
    (stream_id,) = store.claim_streams(at(30), 1, 60.0)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(RuntimeError):
            read_on(store, own.reader, DEFAULT_RULES, stream_id, at(30))
    own.reader = replace(own.reader, breaks=False)
    read_on(store, own.reader, DEFAULT_RULES, stream_id, at(30))
    own.read(100)
    verdicts = [window.verdict for window in own.windows()]
    assert verdicts[0] == CRASHED
    assert set(verdicts[1:]) == {"good"}
