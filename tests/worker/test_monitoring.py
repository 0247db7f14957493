"""A monitor's packets become windows and episodes: one report at the onset, one version at the end.

Fibrillation is simulated and read by the shipped model; where the reading does not matter, a reader
says what the test wants.
"""

import random
import threading
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.reviews import ReportStatus
from model.alarms import DEFAULT_RULES
from model.assessor import StripReader
from model.ecg import LEADS_12, Ecg
from model.simulate import simulate
from model.stitch import WINDOW_S
from tests.ward import FLAT, RATE, USUAL, Beating, Site, at, observation
from worker.episodes import tell_episodes
from worker.monitoring import CRASHED, MAX_ATTEMPTS, read_on


def recording(*parts):
    """Lead II of one patient, of parts (kind, seconds) in a row."""
    made = [
        simulate(kind, seed=n, sampling_rate_hz=float(RATE), duration_s=float(seconds))
        for n, (kind, seconds) in enumerate(parts)
    ]
    return np.hstack([ecg.voltage_mv[[ecg.leads.index("II")]] for ecg in made])


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


EVERY_SECOND = [at(n + 0.5) for n in range(120)]


def test_an_af_episode_is_one_flagged_report_with_onset_and_then_its_duration(site, shipped):
    own = site(shipped)
    signal = recording(("normal", 60), ("atrial-fibrillation", 120), ("normal", 150))
    made = []
    for second in range(0, 330, 5):
        own.arrive(signal, range(second, second + 5))
        made += own.read(second + 5)
        tell_episodes(own.store, USUAL, at(second + 5))
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


def test_many_small_chunks_that_come_at_once_are_all_read(site, store):
    own = site(Beating())
    fifth = FLAT[:, : RATE // 5]
    exams = [
        NewExam(PatientRef("P1"), Ecg(fifth, (lead,), float(RATE), at(n / 5)), at(n / 5))
        for n in range(600)
        for lead in LEADS_12
    ]
    message = NewMessage.whole("kafka", "MONITOR^ICU", "1", b"all", at(0))
    store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", exams))
    own.read(200)
    assert own.beats() == EVERY_SECOND
    whole = [w.share for w in own.windows() if at(0) <= w.start <= at(120 - WINDOW_S)]
    assert len(whole) == 10
    assert set(whole) == {1.0}


def test_a_gap_holds_nothing_up_wherever_it_begins(site, store):
    own = site(Beating())
    for n in range(30, 40):  # in each second of a core
        own.arrive(FLAT, [*range(n), *range(n + 300, n + 330)], patient=f"P{n}", now_s=400)
    own.read(500)
    for n in range(30, 40):
        windows = [w for _, w in reversed(store.find_windows(patient=f"P{n}", limit=100))]
        beats = [b for w in windows for b, _ in w.beats]
        assert beats == [at(s + 0.5) for s in [*range(n), *range(n + 300, n + 330)]]


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
            read_on(store, own.reader, DEFAULT_RULES, stream_id, at(30), critical=USUAL)
    own.reader = replace(own.reader, breaks=False)
    read_on(store, own.reader, DEFAULT_RULES, stream_id, at(30), critical=USUAL)
    own.read(100)
    verdicts = [window.verdict for window in own.windows()]
    assert verdicts[0] == CRASHED
    assert set(verdicts[1:]) == {"good"}
