from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import event, text

from db.clinical import Incoming
from db.errors import NotFound
from db.records import ExamState, MessageState
from db.store import Store

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = date(2026, 3, 1)


@pytest.fixture
def reported(store, received, assessment):
    """A function that stores an exam with its report and returns its id."""

    def report(control_id="1", *, minutes=1, identifier="4711", acquired=NOW):
        exam_id = received(control_id, identifier=identifier, acquired=acquired)
        store.save_assessment(exam_id, assessment(minutes=minutes))
        return exam_id

    return report


class TestReports:
    def test_a_report_is_read_by_its_exam(self, store, reported):
        exam_id = reported()
        report = store.read_report(exam_id)
        assert (report.exam_id, report.issued_at) == (exam_id, NOW + timedelta(minutes=1))
        assert report.bundle == {"resourceType": "Bundle", "type": "transaction"}
        assert "Bundle" not in repr(report)

    def test_what_is_not_assessed_has_none(self, store, received):
        with pytest.raises(NotFound, match="not-found: no report on exam"):
            store.read_report(received())

    def test_pages_come_latest_issued_first(self, store, reported):
        second, third, first = (reported(str(m), minutes=m) for m in (2, 1, 3))
        total, page = store.search_reports(limit=2)
        assert (total, [r.exam_id for r in page]) == (3, [first, second])
        total, page = store.search_reports(offset=2, limit=2)
        assert (total, [r.exam_id for r in page]) == (3, [third])

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({}, {"a", "b"}),
            ({"identifier": "one"}, {"a"}),
            ({"identifier": "ONE"}, set()),
            ({"identifier": "one\0"}, set()),
            ({"authority": "\ud800"}, set()),
            ({"identifier": "one", "authority": "HOSP"}, {"a"}),
            ({"identifier": "one", "authority": "OTHER"}, set()),
            ({"authority": "HOSP"}, {"a", "b"}),
            ({"date_from": date(2026, 3, 1)}, {"a"}),
            ({"date_from": date(2026, 2, 27), "date_to": date(2026, 2, 28)}, {"b"}),
            ({"date_to": date(2026, 2, 27)}, set()),
            ({"identifier": "two", "date_from": date(2026, 3, 1)}, set()),
        ],
    )
    def test_every_condition_narrows(self, store, reported, query, found):
        ids = {
            reported("a", identifier="one"): "a",
            reported("b", identifier="two", acquired=date(2026, 2, 28)): "b",
        }
        total, page = store.search_reports(**query)
        assert {ids[r.exam_id] for r in page} == found
        assert total == len(found)

    def test_one_is_found_by_its_own_identifier(self, store, reported):
        reported("a")
        exam_id = reported("b")
        total, (report,) = store.search_reports(business_identifier=exam_id)
        assert (total, report.exam_id) == (1, exam_id)

    @pytest.mark.parametrize(
        ("acquired", "day"),
        [
            (None, DAY),  # of issue
            (date(2026, 1, 2), date(2026, 1, 2)),
            (datetime.fromisoformat("2026-02-03T00:30:00+09:00"), date(2026, 2, 3)),
        ],
    )
    def test_the_day_is_the_one_its_sender_wrote(self, store, reported, acquired, day):
        reported(acquired=acquired)
        assert store.search_reports(date_from=day, date_to=day)[0] == 1


class TestLists:
    def test_newest_first_and_no_more_than_asked(self, store, received, assessment):
        old, new = received("1"), received("2", minutes=1)
        store.save_assessment(new, assessment("fhir"))
        summaries = store.recent_exams(5)
        assert [s.id for s in summaries] == [new, old]
        assert [s.state for s in summaries] == [ExamState.SCORED, ExamState.RECEIVED]
        assert summaries[0].findings == assessment().findings
        assert summaries[1].findings is None
        assert (summaries[1].sender, summaries[1].control_id) == ("CART^ED", "1")
        assert summaries[1].received_at == NOW
        assert [s.id for s in store.recent_exams(1)] == [new]


class TestStatus:
    def test_nothing_yet(self, store):
        status = store.status(NOW)
        assert status.messages == {"accepted": 0, "not-ecg": 0, "refused": 0}
        assert set(status.exams) == {state.value for state in ExamState}
        assert set(status.exams.values()) == {0}
        assert set(status.deliveries.values()) == {0}
        assert (status.refusals, status.oldest_waiting_s) == ({}, None)

    def test_everything_is_counted(self, store, received, message, assessment):
        for i, reason in enumerate(["msh-missing", "msh-missing", "rate-missing"]):
            store.accept(Incoming(message(f"r{i}"), MessageState.REFUSED, reason, b"AR"))
        store.accept(Incoming(message("n"), MessageState.NOT_ECG, None, b"AA"))
        received("old", minutes=-10)
        received("new")
        store.save_assessment(received("s"), assessment("fhir", "his"))
        status = store.status(NOW)
        assert status.messages == {"accepted": 3, "not-ecg": 1, "refused": 3}
        assert (status.exams["received"], status.exams["scored"]) == (2, 1)
        assert status.deliveries["pending"] == 2
        assert status.refusals == {"msh-missing": 2, "rate-missing": 1}
        assert status.oldest_waiting_s == 600.0


def test_no_query_reads_a_whole_table(migrated_sqlite, tmp_path):
    """SQLite says so of each statement: SEARCH or a SCAN that follows an index."""
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    seen = []
    event.listen(
        store._engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, values, *_: seen.append((statement, values)),
    )
    id_ = UUID(int=1)
    store.claim_waiting_exams(NOW, 5)
    store.claim_due_deliveries(NOW, NOW, 5)
    store.claim_delivery(id_, NOW, 5)
    store.begin_scoring(id_)
    store.fail_exam(id_, "x")
    store.status(NOW)
    store.recent_exams(5)
    store.search_reports()
    store.search_reports(identifier="a", authority="b", date_from=DAY)
    store.search_reports(date_from=DAY, date_to=DAY)
    store.search_reports(business_identifier=id_)
    for find in (store.message_raw, store.load_exam, store.read_report):
        with pytest.raises(NotFound):
            find(id_)
    explained = 0
    with store._engine.connect() as connection:
        for statement, values in seen:
            if statement.startswith(("SELECT", "UPDATE")):
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
                steps = [row.detail for row in plan]
                tables = [s for s in steps if "CONSTANT ROW" not in s and "(subquery" not in s]
                assert not [s for s in tables if s.startswith("SCAN") and "INDEX" not in s], steps
                explained += 1
    assert explained >= 20
    store.close()


def test_lists_leave_samples_and_bytes_alone(store, received):
    received()
    seen = []
    event.listen(
        store._engine,
        "before_cursor_execute",
        lambda _c, _cur, statement, *_: seen.append(statement),
    )
    store.recent_exams(5)
    store.status(NOW)
    assert seen
    for statement in seen:
        assert "samples" not in statement
        assert "raw" not in statement


def test_lists_survive_a_lost_waveform(store, received):
    exam_id = received()
    with store._engine.begin() as connection:
        connection.execute(text("DELETE FROM waveform"))
    assert [s.id for s in store.recent_exams(5)] == [exam_id]
