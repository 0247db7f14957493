"""On a database of its own; threads hold each other up at known places."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

import db.grouping
from db.errors import StoreUnavailable
from db.sessions import Sessions


@pytest.fixture
def sessions(tmp_path):
    sessions = Sessions.open(f"sqlite:///{tmp_path / 'test.db'}")
    sessions._commit(lambda s: s.execute(text("CREATE TABLE t (x INTEGER NOT NULL)")) and None)
    yield sessions
    sessions.close()


class Commits:
    """Counts transactions; the first waits in its commit until it is let go."""

    def __init__(self, sessions):
        self._inner = sessions._groups._transaction
        self.count = 0
        self.held, self.go = threading.Event(), threading.Event()
        sessions._groups._transaction = self

    def __call__(self):
        self.count += 1
        return self._inner()

    def hold(self, session):
        self.held.set()
        assert self.go.wait(20)


def insert(x):
    return lambda session: session.execute(text("INSERT INTO t VALUES (:x)"), {"x": x}).rowcount


def stored(sessions):
    with sessions._reading() as session:
        return sorted(session.scalars(text("SELECT x FROM t")))


def gather(sessions, jobs):
    """Run jobs while a first one holds the writer, so that all of them wait together."""
    commits = Commits(sessions)
    with ThreadPoolExecutor(len(jobs) + 1) as pool:
        first = pool.submit(sessions._commit, commits.hold)
        assert commits.held.wait(20)
        rest = [pool.submit(sessions._commit, job) for job in jobs]
        while len(sessions._groups._waiting) < len(jobs):
            threading.Event().wait(0.001)
        commits.go.set()
        first.result()
        errors = [one.exception() for one in rest]
        results = [None if one.exception() else one.result() for one in rest]
    return commits.count, results, errors


def test_who_waits_together_is_committed_together(sessions):
    count, results, errors = gather(sessions, [insert(x) for x in range(10)])
    assert count == 2
    assert results == [1] * 10
    assert errors == [None] * 10
    assert stored(sessions) == list(range(10))


def test_groups_have_a_limit(sessions, monkeypatch):
    monkeypatch.setattr(db.grouping, "MAX_GROUP", 4)
    count, results, _ = gather(sessions, [insert(x) for x in range(10)])
    assert count == 1 + 3
    assert results == [1] * 10


def test_one_that_fails_costs_the_others_nothing(sessions):
    jobs = [insert(1), insert(None), insert(2)]
    _, results, errors = gather(sessions, jobs)
    assert results == [1, None, 1]
    assert [type(error) for error in errors] == [type(None), StoreUnavailable, type(None)]
    assert stored(sessions) == [1, 2]


def test_a_fault_of_our_own_in_a_job_is_its_callers(sessions):
    def broken(_):
        raise KeyError("x")

    _, results, errors = gather(sessions, [insert(1), broken])
    assert results == [1, None]
    assert isinstance(errors[1], KeyError)
    assert stored(sessions) == [1]


def test_where_no_transaction_begins_all_are_told_at_once(sessions):
    class Away:
        def __enter__(self):
            raise StoreUnavailable("store-unavailable", "away")

        def __exit__(self, *_):
            raise AssertionError("never entered")

    tries = []

    def job(session):
        tries.append(session)

    commits = Commits(sessions)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(sessions._commit, commits.hold)
        assert commits.held.wait(20)
        rest = [pool.submit(sessions._commit, job) for _ in range(3)]
        while len(sessions._groups._waiting) < 3:
            threading.Event().wait(0.001)
        sessions._groups._transaction = Away
        commits.go.set()
        first.result()
        assert {type(one.exception()) for one in rest} == {StoreUnavailable}
    assert tries == []


def test_after_a_failure_it_works_on(sessions):
    with pytest.raises(StoreUnavailable):
        sessions._commit(insert(None))
    assert sessions._commit(insert(3)) == 1
    assert stored(sessions) == [3]


def test_many_threads_all_get_their_own_result(sessions):
    with ThreadPoolExecutor(16) as pool:
        results = list(
            pool.map(lambda x: sessions._commit(lambda s: (insert(x)(s), x)), range(300))
        )
    assert results == [(1, x) for x in range(300)]
    assert stored(sessions) == list(range(300))
