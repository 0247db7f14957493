"""Databases for tests."""

import tempfile
import uuid
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from db.migrate import upgrade


def new_database(path):
    """Make an empty SQLite database of this version's schema; return its URL.

    It is a copy: to migrate each takes many times longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600, exist_ok=False)  # one that is there is somebody's
    path.write_bytes(_template())
    return f"sqlite:///{path}"


@cache
def _template():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()


@contextmanager
def postgres_database(server):
    """Yield the URL of a new database, empty and without a schema, that goes at the end."""
    name = f"hisbundle_test_{uuid.uuid4().hex}"
    _execute(server, "CREATE DATABASE {}", name)
    _execute(
        server, "ALTER DATABASE {} SET synchronous_commit = off", name
    )  # quicker, no less true
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server, statement, name):
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
