import pytest
from pydantic import SecretStr

from db.clinical import Incoming
from db.errors import StoreUnusable
from db.migrate import upgrade
from db.records import MessageState, NewMessage
from integration.config import Settings
from integration.database import open_store
from integration.security.keys import new_key
from integration.security.settings import EncryptionSettings
from tests.db.conftest import NOW

KEYS = f"{new_key('seal', 'a')};{new_key('index', 'i')}"


def settings(folder, keys):
    return Settings(data_dir=folder, encryption=EncryptionSettings(keys=keys and SecretStr(keys)))


def test_the_schema_is_checked_first(tmp_path):
    with pytest.raises(StoreUnusable, match="schema-behind"):
        open_store(settings(tmp_path, KEYS))


def test_the_keys_of_the_settings_seal_and_are_asked_for_from_then_on(tmp_path):
    sealed = settings(tmp_path, KEYS)
    upgrade(sealed.database)
    store = open_store(sealed)
    message = NewMessage.whole("mllp", "CART", "7", b"MSH|ZZCANARY", NOW)
    store.accept(Incoming(message, MessageState.REFUSED, "lead-unknown", b"AR"))
    store.close()
    assert b"ZZCANARY" not in (tmp_path / "hisbundle.db").read_bytes()
    with pytest.raises(StoreUnusable, match="key-missing"):
        open_store(settings(tmp_path, None))
    again = open_store(sealed)
    assert again.message_raw(message.id) == b"MSH|ZZCANARY"
    again.close()
