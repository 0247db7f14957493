import json
from uuid import UUID

import pytest
from sqlalchemy import Column, MetaData, String, Table, Uuid, select, text
from sqlalchemy.exc import StatementError

import db.upkeep_tables  # noqa: F401 - it fills Base.metadata
from db.columns import Base
from db.engine import open_engine
from db.errors import Corrupt, StoreUnusable
from db.keyring import Key, Keyring
from db.sealed import (
    Sealed,
    SealedBytes,
    SealedJson,
    SealedPackedJson,
    SealedText,
    SealedType,
    Token,
    is_one_of,
    row_id,
    sealed_bytes,
    sealed_text,
)

ONE, TWO = UUID(int=1), UUID(int=2)
RING = Keyring([Key("a", b"\1" * 32)], [Key("i", b"\2" * 32)])
LATER = Keyring([Key("b", b"\3" * 32), *RING.keys], [Key("j", b"\4" * 32), *RING.index_keys])
THINGS = Table(
    "things",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("raw", SealedBytes("things.raw")),
    Column("name", SealedText("things.name")),
    Column("told", SealedJson("things.told")),
    Column("packed", SealedPackedJson("things.packed")),
    Column("name_token", Token("name", of="name")),
    Column("as_stored", String),
)


@pytest.fixture
def opened_with(fresh_url):
    """A function that returns a connection to the same table with a keyring."""
    engines = []

    def connect(keyring):
        engines.append(open_engine(fresh_url, keyring))
        THINGS.create(engines[-1], checkfirst=True)
        return engines[-1].begin()

    yield connect
    THINGS.drop(engines[0])
    for engine in engines:
        engine.dispose()


def row(id_, name="4711"):
    return {
        "id": id_,
        "raw": Sealed(id_, b"\0MSH|4711"),
        "name": Sealed(id_, name),
        "told": Sealed(id_, {"a": [1, None, "4711"]}),
        "packed": Sealed(id_, {"b": "4711 " * 100}),
        "name_token": name,
    }


def read(connection, id_=ONE):
    found = connection.execute(select(THINGS).where(THINGS.c.id == id_)).one()
    return [value.open(id_) for value in (found.raw, found.name, found.told, found.packed)]


@pytest.mark.parametrize("keyring", [None, RING])
def test_values_come_back_as_they_were(opened_with, keyring):
    with opened_with(keyring) as connection:
        connection.execute(THINGS.insert(), [row(ONE)])
        told, packed = {"a": [1, None, "4711"]}, {"b": "4711 " * 100}
        assert read(connection) == [b"\0MSH|4711", "4711", told, packed]


def test_what_is_stored_says_nothing(opened_with):
    with opened_with(RING) as connection:
        connection.execute(THINGS.insert(), [row(ONE)])
        stored = connection.execute(
            text("SELECT raw, name, told, packed, name_token FROM things")
        ).one()
    assert bytes(stored.packed).startswith(b"\2a:")
    assert bytes(stored.raw).startswith(b"\2a:")
    assert "4711" not in repr(tuple(map(str, stored)))
    assert stored.name.startswith("\2a:")
    assert stored.name_token.startswith("\2i:")
    told = stored.told if stored.told.startswith("\2") else json.loads(stored.told)
    assert told.startswith("\2a:")


def test_a_value_of_another_row_is_not_taken_for_ones_own(opened_with):
    with opened_with(RING) as connection:
        connection.execute(THINGS.insert(), [row(ONE), row(TWO, "0815")])
        connection.execute(text("UPDATE things SET name = (SELECT max(name) FROM things)"))
        found = connection.execute(select(THINGS.c.id, THINGS.c.name)).all()
        with pytest.raises(Corrupt) as raised:
            _ = [name.open(id_) for id_, name in found]
    assert raised.value.reason == "sealed-value-corrupt"
    assert "0815" not in str(raised.value)


def test_nothing_stays_nothing_and_let_go_stays_let_go(opened_with):
    with opened_with(RING) as connection:
        nothing = dict.fromkeys(("name", "told", "packed", "name_token"))
        connection.execute(THINGS.insert(), [{"id": ONE, "raw": b""} | nothing])
        stored = connection.execute(text("SELECT raw, name, told, name_token FROM things")).one()
        assert (bytes(stored.raw), *stored[1:]) == (b"", None, None, None)


def test_a_value_that_names_no_row_is_not_written(opened_with):
    with opened_with(RING) as connection, pytest.raises(StatementError, match="written as Sealed"):
        connection.execute(THINGS.insert(), [row(ONE) | {"name": "4711"}])


def find(connection, *values):
    found = select(THINGS.c.id).where(is_one_of(THINGS.c.name_token, values))
    return set(connection.scalars(found))


def test_identifiers_are_found_whatever_indexed_them(opened_with):
    with opened_with(None) as connection:
        connection.execute(THINGS.insert(), [row(ONE)])
        assert find(connection, "4711") == {ONE}
    with opened_with(RING) as connection:
        assert find(connection, "4711") == {ONE}
        connection.execute(THINGS.insert(), [row(TWO)])
    with opened_with(LATER) as connection:
        assert find(connection, "4711", "0815") == {ONE, TWO}
        assert find(connection, "0815") == find(connection) == set()
        assert read(connection, TWO)[1] == "4711"


def test_without_its_key_a_value_stays_shut(opened_with):
    with opened_with(RING) as connection:
        connection.execute(THINGS.insert(), [row(ONE)])
    with opened_with(None) as connection, pytest.raises(StoreUnusable) as raised:
        read(connection)
    assert raised.value.reason == "key-missing"


def test_a_row_with_a_longer_key_is_bound_by_all_of_it():
    assert row_id(ONE) == ONE
    assert len({row_id(ONE), row_id(ONE, 1), row_id(ONE, 2), row_id(TWO, 1)}) == 4


def test_sealed_bytes_as_text_and_back():
    data = RING.seal(b"x" * 100, b"")
    assert sealed_bytes(sealed_text(data)) == data
    with pytest.raises(Corrupt):
        sealed_bytes("\2a:no base64!")


def test_each_column_is_bound_to_its_own_name_and_each_token_to_its_own_column():
    for table in Base.metadata.sorted_tables:
        for column in table.c:
            if isinstance(column.type, SealedType):
                assert column.type.place == f"{table.name}.{column.name}"
            if isinstance(column.type, Token):
                assert isinstance(table.c[column.type.of].type, SealedText)
