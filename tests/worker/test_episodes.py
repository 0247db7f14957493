"""What becomes of an episode after its onset is a version of its report: critical, ended."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import literal_column, text, update

from db.errors import NotFound
from db.retention import Periods
from db.reviews import Decision, ReportStatus, Review, Reviewer
from db.tables import ReportRow
from integration.fhir.acknowledging import alerts_of
from integration.hl7v2.report import Endpoints, encode_report
from integration.review import Reviews
from tests.ward import FLAT, USUAL, Beating, Site, at, observation
from worker.episodes import tell_episodes


@pytest.fixture
def site(store):
    return lambda reader: Site(store, reader)


def test_an_episode_survives_a_new_worker_at_every_step_and_is_told_once(site, store):
    made = []
    for second in range(0, 240, 10):
        own = site(Beating(af=((50, 130),)))  # knows nothing but what is in the database
        own.arrive(FLAT, range(second, second + 10))
        made += own.read(second + 10)
    (exam_id,) = made
    assert tell_episodes(store, USUAL, at(240)) == 1
    assert tell_episodes(store, USUAL, at(241)) == 0
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
        assert tell_episodes(store, USUAL, at(240)) == 1
    assert tell_episodes(store, USUAL, at(241)) == 0
    assert len(store.versions_of(exam_id)) == 2


def test_an_episode_that_ended_before_its_report_was_made_is_one_version(site, store):
    own = site(Beating(af=((50, 130),)))
    own.arrive(FLAT, range(240))
    own.score = lambda _: None  # the task is late
    (exam_id,) = own.read(240)
    assert tell_episodes(store, USUAL, at(240)) == 0
    Site.score(own, [exam_id])
    assert tell_episodes(store, USUAL, at(241)) == 0
    (only,) = store.versions_of(exam_id)
    assert "end" in observation(only)["effectivePeriod"]


def test_what_a_clinician_has_decided_on_stays_as_it_is(site, store):
    own = site(Beating(af=((50, 130),)))
    (exam_id,) = own.watch(0, 120)
    review = Review(Decision.CONFIRM, Reviewer(value="DR1"), at(121))
    Reviews(store, None).decide(exam_id, review, actor="EHR")
    own.arrive(FLAT, range(120, 260))
    own.read(260)
    assert tell_episodes(store, USUAL, at(260)) == 0
    assert store.read_report(exam_id).status is ReportStatus.FINAL


def test_an_episode_keeps_its_onsets_samples_until_its_end_is_told(store):
    own = Site(store, Beating(af=((50, 130),)), destinations=())
    (exam_id,) = own.watch(0, 120)
    day = timedelta(days=1)
    periods = Periods(waveforms=day, assessments=day)
    store.prune(periods, at(0) + 9 * day, "admin")
    own.watch(120, 260)
    assert tell_episodes(store, USUAL, at(260)) == 1
    store.prune(periods, at(0) + 9 * day, "admin")
    with pytest.raises(NotFound):
        store.load_exam(exam_id)
    assert store.versions_of(exam_id) == ()


def test_a_signal_that_is_lost_ends_an_episode_where_it_was_last_seen(site, store):
    own = site(Beating(af=((50, 10_000),)))
    (exam_id,) = own.watch(0, 120)
    own.read(160)
    own.read(500)
    tell_episodes(store, USUAL, at(501))
    newest = store.read_report(exam_id)
    ended = datetime.fromisoformat(observation(newest)["effectivePeriod"]["end"])
    assert at(105) <= ended <= at(120)
    assert "signal was lost" in newest.bundle["entry"][0]["resource"]["conclusion"]


GRAVER = Beating(pauses=((30, 33.2), (50, 59)))  # the second pause is critical


def flags(report):
    """OBX-8 of the lines on critical findings, as an HL7 v2 receiver gets them."""
    lines = encode_report(report.bundle, Endpoints("A", "B", "C", "D")).raw.decode().split("\r")
    return {line.split("|")[8] for line in lines if "^Critical finding^" in line}


def alerts(report):
    return [(a["status"], a["reasonCode"][0]["text"]) for a in alerts_of(report)]


PAUSE = [("in-progress", "Pause")]


def test_an_episode_that_becomes_critical_is_alerted_once(site, store):
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 50)
    assert tell_episodes(store, USUAL, at(50)) == 0
    assert alerts(store.read_report(exam_id)) == []
    assert own.watch(50, 80) == []
    assert [tell_episodes(store, USUAL, at(80 + n)) for n in range(2)] == [1, 0]
    told = store.read_report(exam_id)
    assert (told.version, told.status) == (2, ReportStatus.PRELIMINARY)
    assert (alerts(told), flags(told)) == (PAUSE, {"AA"})
    assert "9.0 s" in told.bundle["entry"][0]["resource"]["conclusion"]
    due = at(80) + timedelta(minutes=USUAL.acknowledge_min)
    assert store.unanswered_alerts(due - timedelta(seconds=1), 9) == ()
    assert store.unanswered_alerts(due, 9) == (exam_id,)
    own.watch(80, 200)
    assert [tell_episodes(store, USUAL, at(200 + n)) for n in range(2)] == [1, 0]
    end = store.read_report(exam_id)
    assert (end.version, alerts(end), flags(end)) == (3, PAUSE, {"AA"})
    assert "end" in observation(end)["effectivePeriod"]
    assert store.open_alerts() == (1, 0)
    assert [d.version for d in store.deliveries_of(exam_id)] == [1, 2, 3]


def test_fibrillation_that_becomes_fast_is_critical(site, store):
    own = site(Beating(af=((20, 300),), fast=((100, 130),)))
    (exam_id,) = own.watch(0, 90)
    assert tell_episodes(store, USUAL, at(90)) == 0
    own.watch(90, 160)
    assert tell_episodes(store, USUAL, at(160)) == 1
    ((_, name),) = alerts(store.read_report(exam_id))
    assert "fibrillation" in name


def test_a_critical_episode_is_alerted_where_its_ecg_cannot_be_read(site, store):
    own = site(Beating(pauses=((30, 39),), blind=True))
    (exam_id,) = own.watch(0, 60)
    assert store.load_exam(exam_id).state == "unscorable"
    assert alerts(store.read_report(exam_id)) == PAUSE
    assert tell_episodes(store, USUAL, at(60)) == 0


@pytest.mark.parametrize("lost", ["DELETE FROM waveform", "UPDATE waveform SET encoding = '?'"])
def test_an_episode_is_told_without_its_onsets_samples(site, store, lost):
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 50)
    with store._writing() as session:
        session.execute(text(lost))
    own.watch(50, 80)
    assert tell_episodes(store, USUAL, at(80)) == 1
    assert alerts(store.read_report(exam_id)) == PAUSE
    own.watch(80, 200)
    assert [tell_episodes(store, USUAL, at(200 + n)) for n in range(2)] == [1, 0]
    assert "end" in observation(store.read_report(exam_id))["effectivePeriod"]


def test_a_report_that_is_damaged_is_logged_once_and_keeps_no_other_waiting(site, store, caplog):
    own = site(GRAVER)
    for patient in ("P1", "P2"):
        own.arrive(FLAT, range(50), patient=patient)
    damaged, other = own.read(50)
    with store._writing() as session:
        garbage = {"bundle": literal_column("x'3f'")}
        session.execute(update(ReportRow).where(ReportRow.exam_id == damaged).values(garbage))
    for patient in ("P1", "P2"):
        own.arrive(FLAT, range(50, 80), patient=patient)
    own.read(80)
    assert [tell_episodes(store, USUAL, at(80 + n)) for n in range(3)] == [1, 0, 0]
    assert alerts(store.read_report(other)) == PAUSE
    assert caplog.text.count(f"episode not told id={damaged}") == 1


def test_what_is_critical_in_the_onset_hides_no_later_alert(site, store):
    """The onset of the fibrillation has a pause; a clinician knows of it when AF becomes fast."""
    own = site(Beating(af=((20, 300),), fast=((100, 130),), pauses=((32, 38),)))
    made = own.watch(0, 90)
    (exam_id,) = (id_ for id_ in made if store.episode_finding_of(id_).code == "AF")
    first = store.read_report(exam_id)
    assert alerts(first) == PAUSE
    (pause,) = alerts_of(first)
    Reviews(store, None).acknowledge(exam_id, pause | {"status": "completed"}, actor="EHR")
    own.watch(90, 160)
    for n in range(2):
        tell_episodes(store, USUAL, at(160 + n))
    told = store.read_report(exam_id)
    assert told.version == 3
    assert alerts(told) == [
        ("in-progress", "Atrial fibrillation or flutter"),
        ("completed", "Pause"),
    ]
    assert len({alert["id"] for alert in alerts_of(told)}) == 2
    due = at(160) + timedelta(minutes=USUAL.acknowledge_min)
    assert exam_id not in store.unanswered_alerts(due - timedelta(seconds=1), 9)
    assert exam_id in store.unanswered_alerts(due, 9)


def test_what_became_critical_before_it_was_scored_is_one_version(site, store):
    own = site(GRAVER)
    own.score = lambda _: None  # the task is late
    (exam_id,) = own.watch(0, 80)
    assert tell_episodes(store, USUAL, at(80)) == 0
    Site.score(own, [exam_id])
    assert tell_episodes(store, USUAL, at(81)) == 0
    (only,) = store.versions_of(exam_id)
    assert alerts(only) == PAUSE


def test_what_became_critical_and_ended_meanwhile_is_one_version(site, store):
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 50)
    own.watch(50, 200)
    assert [tell_episodes(store, USUAL, at(200 + n)) for n in range(2)] == [1, 0]
    told = store.read_report(exam_id)
    assert (told.version, alerts(told)) == (2, PAUSE)
    assert "end" in observation(told)["effectivePeriod"]


def test_nobody_is_alerted_where_a_clinician_has_decided(site, store):
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 50)
    review = Review(Decision.CONFIRM, Reviewer(value="DR1"), at(51))
    Reviews(store, None).decide(exam_id, review, actor="EHR")
    own.watch(50, 200)
    assert tell_episodes(store, USUAL, at(200)) == 0
    assert alerts(store.read_report(exam_id)) == []
    assert store.open_alerts() == (0, 0)


def test_in_silence_nobody_is_asked_to_answer(site, store):
    own = site(GRAVER)
    own.rules = replace(own.rules, silent=True)
    (exam_id,) = own.watch(0, 80)
    assert tell_episodes(store, USUAL, at(80)) == 1
    assert store.open_alerts() == (0, 0)
    assert store.rehearsal().critical == 1
    assert store.deliveries_of(exam_id) == ()


@pytest.mark.parametrize("stored", [True, False])
def test_a_worker_that_dies_over_an_alert_leaves_one(site, store, monkeypatch, stored):
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 80)
    add = type(store).add_version

    def dies(*args, **named):
        if stored:
            add(*args, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(type(store), "add_version", dies)
        with pytest.raises(KeyboardInterrupt):
            tell_episodes(store, USUAL, at(80))
    assert tell_episodes(store, USUAL, at(81)) == (0 if stored else 1)
    assert alerts(store.read_report(exam_id)) == PAUSE
    assert len(store.versions_of(exam_id)) == 2
    store.seal_audit()
    kept = [s.entry.content.get("version") for s in store.audit_entries()]
    assert kept.count(2) == 1


@pytest.mark.parametrize("until", [80, 200])
def test_who_is_second_leaves_what_the_first_has_told(site, store, monkeypatch, until):
    """Another worker tells it between this one's look and its version."""
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 50)
    own.watch(50, until)
    load = store.load_findings

    def slow(exam_id):
        seen = load(exam_id)
        monkeypatch.undo()
        assert tell_episodes(store, USUAL, at(until)) == 1
        return seen

    monkeypatch.setattr(store, "load_findings", slow)
    assert tell_episodes(store, USUAL, at(until)) == 0
    assert store.read_report(exam_id).version == 2
    assert alerts(store.read_report(exam_id)) == PAUSE


def test_an_answer_to_an_alert_does_not_hide_the_end(site, store, monkeypatch):
    """The answer's version comes between this worker's look and its own."""
    own = site(GRAVER)
    (exam_id,) = own.watch(0, 80)
    tell_episodes(store, USUAL, at(80))
    own.watch(80, 200)
    load = store.load_findings

    def slow(exam_id):
        seen = load(exam_id)
        monkeypatch.undo()
        (alert,) = alerts_of(store.read_report(exam_id))
        Reviews(store, None).acknowledge(exam_id, alert | {"status": "completed"}, actor="EHR")
        return seen

    monkeypatch.setattr(store, "load_findings", slow)
    assert [tell_episodes(store, USUAL, at(200 + n)) for n in range(3)] == [0, 1, 0]
    end = store.read_report(exam_id)
    assert (end.version, alerts(end)) == (4, [("completed", "Pause")])
    assert "end" in observation(end)["effectivePeriod"]
