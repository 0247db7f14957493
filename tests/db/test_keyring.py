import hashlib
import hmac
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import Corrupt, StoreUnusable
from db.keyring import Key, Keyring

OLD, NEW, INDEX = Key("old", b"\1" * 32), Key("new", b"\2" * 32), Key("i", b"\3" * 32)
RING = Keyring([NEW, OLD], [INDEX])


def test_a_sealed_value_is_standard_aes_gcm_behind_its_keys_id():
    sealed = RING.seal(b"MSH|", b"place")
    assert sealed.startswith(b"\2new:")
    nonce, body = sealed[5:17], sealed[17:]
    assert AESGCM(b"\2" * 32).decrypt(nonce, body, b"place") == b"MSH|"
    assert RING.seal(b"MSH|", b"place") != sealed  # never the same nonce


def test_all_keys_open_the_first_seals():
    sealed = Keyring([OLD], [INDEX]).seal(b"x", b"place")
    assert RING.open(sealed, b"place") == b"x"
    with pytest.raises(StoreUnusable, match="no key old") as caught:
        Keyring([NEW], [INDEX]).open(sealed, b"place")
    assert caught.value.reason == "key-missing"


@pytest.mark.parametrize("at", [5, 16, 17, -1])
def test_a_changed_value_does_not_open(at):
    sealed = bytearray(RING.seal(b"4711", b"place"))
    sealed[at] ^= 1
    with pytest.raises(Corrupt):
        RING.open(bytes(sealed), b"place")


@pytest.mark.parametrize("length", [5, 6, 20])
def test_a_cut_value_does_not_open(length):
    with pytest.raises(Corrupt):
        RING.open(RING.seal(b"4711", b"place")[:length], b"place")


def test_a_moved_value_does_not_open():
    with pytest.raises(Corrupt):
        RING.open(RING.seal(b"4711", b"exam.bed 1"), b"exam.bed 2")


def test_a_token_is_hmac_of_kind_and_value():
    digest = hmac.new(b"\3" * 32, b"patient\x1f4711", hashlib.sha256).digest()
    mark, _, text = RING.token("patient", "4711").partition(":")
    assert mark == "\2i"
    assert urlsafe_b64decode(text + "==") == digest[:16]
    assert RING.token("bed", "4711") != RING.token("patient", "4711")
    assert RING.token("patient", "4711", Key("j", b"\4" * 32)).startswith("\2j:")


def test_threads_share_a_keyring():
    def there_and_back(n):
        data = bytes([n % 256]) * 10_000
        return RING.open(RING.seal(data, b"p"), b"p") == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(500)))


def test_secrets_are_not_shown():
    assert "\\x01" not in repr(OLD)
    assert "\\x01" not in repr(RING)


def test_a_pseudonym_is_the_same_for_the_same_and_needs_the_key():
    one, two = UUID(int=1), UUID(int=2)
    digest = hmac.new(b"\3" * 32, one.bytes, hashlib.sha256).digest()
    assert RING.pseudonym(one) == UUID(bytes=digest[:16]) != RING.pseudonym(two)
