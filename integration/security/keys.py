"""Keys of the settings: lines `seal ID BASE64` and `index ID BASE64`; the first of each writes."""

import binascii
import os
import re
import stat
from base64 import b64decode, b64encode
from pathlib import Path

from db.keyring import KEY_BYTES, MAX_INDEX_KEYS, MAX_KEYS, Key, Keyring
from db.keys import INDEX, SEAL
from integration.errors import ConfigError
from integration.security.settings import EncryptionSettings

_LINE = re.compile(r"(seal|index) +([a-z0-9][a-z0-9-]{0,15}) +([A-Za-z0-9+/]+=*)")
_AT_MOST = {SEAL: MAX_KEYS, INDEX: MAX_INDEX_KEYS}
_READABLE_BY_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keyring_of(settings: EncryptionSettings) -> Keyring | None:
    """Return the keys, or None where none are given.

    Raises:
        ConfigError: `key-missing`: the file cannot be read; `key-file-open`: others may read it;
            `key-malformed`.
    """
    if settings.key_file is not None:
        return _keyring(_read(settings.key_file).splitlines())
    if settings.keys is not None:
        return _keyring(settings.keys.get_secret_value().split(";"))
    return None


def new_key(kind: str, id_: str) -> str:
    """Return the line of a fresh key."""
    return f"{kind} {id_} {b64encode(os.urandom(KEY_BYTES)).decode()}"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            if os.fstat(file.fileno()).st_mode & _READABLE_BY_OTHERS:
                raise ConfigError("key-file-open", f"{path} is not its owner's alone: chmod 600")
            return file.read(2**16)
    except OSError as error:
        raise ConfigError("key-missing", f"{path}: {error.strerror}") from None


def _keyring(lines: list[str]) -> Keyring:
    found: dict[str, list[Key]] = {SEAL: [], INDEX: []}
    for number, line in enumerate((text.partition("#")[0].strip() for text in lines), 1):
        if line:
            kind, key = _key(line, number)
            found[kind].append(key)
    for kind, keys in found.items():
        ids = {key.id for key in keys}
        if not 1 <= len(keys) <= _AT_MOST[kind] or len(ids) < len(keys):
            raise ConfigError(
                "key-malformed", f"give 1 to {_AT_MOST[kind]} {kind} keys, each with its own id"
            )
    return Keyring(found[SEAL], found[INDEX])


def _key(line: str, number: int) -> tuple[str, Key]:
    parts = _LINE.fullmatch(line)
    try:
        secret = b64decode(parts[3], validate=True) if parts else b""
    except binascii.Error:
        secret = b""
    if parts is None or len(secret) != KEY_BYTES:
        raise ConfigError(
            "key-malformed",
            f"key {number} is not `seal ID BASE64` or `index ID BASE64`, of {KEY_BYTES} bytes",
        )
    return parts[1], Key(parts[2], secret)
