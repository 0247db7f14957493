"""The database for a command."""

from collections.abc import Iterator
from contextlib import contextmanager

from db.store import Store
from integration.config import Settings, load_settings
from integration.database import open_store


@contextmanager
def opened() -> Iterator[tuple[Settings, Store]]:
    """Yield the settings and their database, which is checked."""
    settings = load_settings()
    store = open_store(settings)
    try:
        yield settings, store
    finally:
        store.close()
