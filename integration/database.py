"""The database that the settings name, ready for work."""

import db.migrate
from db.store import Store
from integration.config import Settings
from integration.security.keys import keyring_of


def open_store(settings: Settings) -> Store:
    """Return the store, its schema and its keys checked.

    Raises:
        ConfigError: `key-malformed`, `key-file-open`, `key-missing`.
        StoreUnusable: `schema-behind`, `schema-unknown`; `key-missing`, `key-wrong`: it was sealed
            with a key that is not given.
        StoreUnavailable: it cannot be reached.
    """
    keyring = keyring_of(settings.encryption)
    db.migrate.check(settings.database, later=settings.allow_later_schema)
    store = Store.open(settings.database, keyring)
    try:
        store.check_keys()
    except BaseException:
        store.close()
        raise
    return store
