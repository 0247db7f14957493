from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, StatementError

import db.tables
import db.upkeep_tables  # noqa: F401
from db.columns import Base, Label, UtcDateTime
from db.engine import open_engine
from db.records import DeliveryState, ExamState, MessageState
from db.tables import DeliveryRow, ExamRow, MessageRow, ReportRow

TIMES = Table(
    "times", MetaData(), Column("id", Integer, primary_key=True), Column("at", UtcDateTime)
)


@pytest.fixture
def engine(fresh_url):
    engine = open_engine(fresh_url)
    yield engine
    engine.dispose()


def test_instants_come_back_in_utc(engine):
    TIMES.create(engine)
    tokyo = datetime(2026, 3, 1, 0, 30, 0, 123_456, tzinfo=timezone(timedelta(hours=9)))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL timezone = 'America/New_York'"))
        connection.execute(TIMES.insert(), [{"at": tokyo}, {"at": None}])
        got = connection.scalars(select(TIMES.c.at).order_by(TIMES.c.id)).all()
        assert got == [tokyo, None]
        assert got[0].tzinfo is UTC
        later = tokyo + timedelta(microseconds=1)
        assert connection.scalars(select(TIMES.c.id).where(TIMES.c.at < later)).all() == [1]
        assert connection.scalars(select(TIMES.c.id).where(TIMES.c.at < tokyo)).all() == []


def test_a_naive_time_is_refused(engine):
    TIMES.create(engine)
    naive = datetime(2026, 3, 1)  # noqa: DTZ001 - the fault under test
    with engine.begin() as connection, pytest.raises(StatementError, match="without zone"):
        connection.execute(TIMES.insert(), [{"at": naive}])


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        ("", ""),
        ("MSG00001", "MSG00001"),
        ("123456789", "12345678"),
        ("a\0b", "a?b"),
        ("a\ud800b", "a?b"),
        ("Größe", "Größe"),
    ],
)
def test_labels_are_cut_and_cleaned(value, stored, engine):
    assert Label(8).process_bind_param(value, engine.dialect) == stored


@pytest.mark.parametrize(
    ("row", "states"),
    [(MessageRow, MessageState), (ExamRow, ExamState), (DeliveryRow, DeliveryState)],
)
def test_the_database_knows_every_state_and_no_other(store, received, assessment, row, states):
    store.save_assessment(received(), assessment("fhir"))
    for state in states:
        with store._engine.begin() as connection:
            connection.execute(update(row).values(state=literal(state.value, String)))
    with store._engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(update(row).values(state=literal("other", String)))


@pytest.mark.parametrize("row", [MessageRow, ExamRow, ReportRow])
def test_what_others_refer_to_cannot_go(store, received, assessment, row):
    store.save_assessment(received(), assessment("fhir"))
    with store._engine.begin() as connection, pytest.raises(IntegrityError):
        connection.execute(delete(row))


def test_rows_show_no_patient():
    rows = [mapper.class_ for mapper in Base.registry.mappers]
    assert len(rows) == len(Base.metadata.tables) > 8
    assert all(row.__repr__ is object.__repr__ for row in rows)


def test_rows_are_compared_by_identity():
    assert ExamRow.__eq__ is object.__eq__
