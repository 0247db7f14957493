from base64 import b64decode, b64encode

import pytest
from pydantic import SecretStr

from integration.errors import ConfigError
from integration.security.keys import keyring_of, new_key
from integration.security.settings import EncryptionSettings

ONE, TWO = b64encode(b"\1" * 32).decode(), b64encode(b"\2" * 32).decode()


def given(keys):
    return keyring_of(EncryptionSettings(keys=SecretStr(keys)))


def test_without_keys_there_is_no_keyring():
    assert keyring_of(EncryptionSettings()) is None


def test_the_first_of_each_kind_writes():
    ring = given(f"seal b {TWO}; seal a {ONE};index i {ONE}")
    assert [(key.id, key.secret) for key in ring.keys] == [("b", b"\2" * 32), ("a", b"\1" * 32)]
    assert [key.id for key in ring.index_keys] == ["i"]


def test_a_file_may_have_comments(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# since March\nseal 2026-03 {ONE}\n\nindex 1 {TWO}  # for ever\n")
    path.chmod(0o600)
    ring = keyring_of(EncryptionSettings(key_file=path))
    assert (ring.keys[0].id, ring.index_keys[0].secret) == ("2026-03", b"\2" * 32)


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"seal a {ONE}\nindex i {TWO}\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError) as raised:
        keyring_of(EncryptionSettings(key_file=path))
    assert raised.value.reason == "key-file-open"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError) as raised:
        keyring_of(EncryptionSettings(key_file=tmp_path / "none"))
    assert raised.value.reason == "key-missing"


@pytest.mark.parametrize(
    "keys",
    [
        "",
        f"seal a {ONE}",
        f"index i {ONE}",
        f"seal A {ONE};index i {TWO}",
        f"seal a {ONE[:-8]};index i {TWO}",
        f"seal a {ONE};seal a {TWO};index i {TWO}",
        f"seal a {ONE};index i {TWO};index j {ONE};index k {ONE}",
        f"a {ONE};index i {TWO}",
    ],
)
def test_what_is_no_keyring_is_told_without_its_secrets(keys):
    with pytest.raises(ConfigError) as raised:
        given(keys)
    assert raised.value.reason == "key-malformed"
    assert ONE[:8] not in str(raised.value)


def test_a_fresh_key_is_random_and_read_back():
    lines = [new_key("seal", "a"), new_key("index", "i")]
    ring = given(";".join(lines))
    assert b64decode(lines[0].split()[2]) == ring.keys[0].secret
    assert new_key("seal", "a") != lines[0]
