"""Keys that stored values are sealed with and found by.

Sealed: AES-256-GCM under the first key, with a random nonce, behind the key's id. A value is bound
to the table, column and row it stands in; moved elsewhere it does not open. One key is good for
2**32 values (NIST SP 800-38D, 8.3): rotate before.

Found: HMAC-SHA-256 under an index key of its own, cut to 128 bits. Equal values have equal tokens,
which is all that a token tells to whoever has no key.
"""

import hmac
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from db.errors import Corrupt, StoreUnusable

KEY_BYTES = 32
MARK = b"\x02"  # in front of what is sealed; no identifier may hold it, and compress writes others
MAX_KEYS = 8
MAX_INDEX_KEYS = 2  # each is one more look into the index at every search
_AFTER_ID = b":"
_NONCE_BYTES = 12
_TOKEN_BYTES = 16


@dataclass(frozen=True)
class Key:
    """A secret of KEY_BYTES bytes and the name it goes by: a-z, 0-9 and `-`."""

    id: str
    secret: bytes = field(repr=False)

    @property
    def mark(self) -> bytes:
        """What everything begins with that this key sealed or indexed."""
        return MARK + self.id.encode() + _AFTER_ID


class Keyring:
    """Several keys: the first seals, all open; the first index key indexes, all are looked for."""

    def __init__(self, keys: Sequence[Key], index_keys: Sequence[Key]) -> None:
        self.keys, self.index_keys = tuple(keys), tuple(index_keys)
        self._ciphers = {key.mark: AESGCM(key.secret) for key in keys}

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Return `data` so that only a holder of the key can read it, and only in its place."""
        mark, nonce = self.keys[0].mark, os.urandom(_NONCE_BYTES)
        return mark + nonce + self._ciphers[mark].encrypt(nonce, data, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Inverse of seal.

        Raises:
            StoreUnusable: `key-missing`: none of these keys sealed it.
            Corrupt: `sealed-value-corrupt`: it was changed, or stood in another place.
        """
        end = sealed.find(_AFTER_ID) + 1
        cipher = self._ciphers.get(sealed[:end])
        if cipher is None:
            name = sealed[len(MARK) : end - 1].decode(errors="replace")
            raise StoreUnusable("key-missing", f"no key {name} is in the settings")
        body = end + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[end:body], sealed[body:], place)
        except (InvalidTag, ValueError):
            raise Corrupt("sealed-value-corrupt", "changed, or moved from its place") from None

    def token(self, kind: str, value: str, key: Key | None = None) -> str:
        """Return what a value is found by.

        Args:
            kind: `patient`, `order`, ...: equal values of two kinds have different tokens.
            value: whole; it cannot be found by a part.
            key: an index key; by default the first.
        """
        key = key or self.index_keys[0]
        digest = hmac.digest(key.secret, f"{kind}\x1f{value}".encode(), "sha256")[:_TOKEN_BYTES]
        return key.mark.decode() + urlsafe_b64encode(digest).rstrip(b"=").decode()

    def pseudonym(self, id_: UUID) -> UUID:
        """Return an id that stands for another one, under the first index key."""
        return UUID(bytes=hmac.digest(self.index_keys[0].secret, id_.bytes, "sha256")[:16])
