"""Our own keys for signing who we are: made here, kept in a folder, published as a JWKS.

A key is a file named after its `kid`, `20261128T160311Z-ES384.pem`, readable by its owner alone.
The newest signs; older ones stay published until their file is removed, so that a server that has
not looked at our JWKS since the rotation still finds one that it knows.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from integration.errors import ConfigError

Algorithm = Literal["ES384", "RS384"]  # what SMART App Launch 2.2 asks of both sides
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_NAME = re.compile(r"\d{8}T\d{6}Z-(ES384|RS384)")
_MAKE: dict[str, Callable[[], PrivateKey]] = {
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RS384": lambda: rsa.generate_private_key(65_537, 3072),
}


@dataclass(frozen=True)
class SigningKey:
    """One of our keys.

    Attributes:
        kid: its name, also of its file.
        algorithm: that it signs with.
        private: never shown.
    """

    kid: str
    algorithm: str
    private: PrivateKey = field(repr=False)

    def jwk(self) -> dict[str, Any]:
        """Return its public half (RFC 7517)."""
        of = ECAlgorithm if self.algorithm == "ES384" else RSAAlgorithm
        public: dict[str, Any] = json.loads(of.to_jwk(self.private.public_key()))  # type: ignore[arg-type]
        # PyJWT says what a key may do ("verify") and leaves out what it is for.
        kept = {name: value for name, value in public.items() if name != "key_ops"}
        return kept | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}


def make_key(folder: Path, algorithm: Algorithm, now: datetime) -> SigningKey:
    """Make a key that signs from now on.

    Raises:
        ConfigError: `keys-unusable`.
    """
    kid = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{algorithm}"
    private = _MAKE[algorithm]()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(folder / f"{kid}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(pem)
    except OSError as error:
        raise ConfigError("keys-unusable", f"{folder}: {error.strerror}") from None
    return SigningKey(kid, algorithm, private)


def read_keys(folder: Path) -> tuple[SigningKey, ...]:
    """Return the keys, the newest first; empty without a folder.

    Raises:
        ConfigError: `keys-unusable`.
    """
    files = [file for file in folder.glob("*.pem") if _NAME.fullmatch(file.stem)]
    return tuple(_read(file) for file in sorted(files, reverse=True))


def jwks(folder: Path) -> dict[str, Any]:
    """Return the public halves of all keys as a JWK Set."""
    return {"keys": [key.jwk() for key in read_keys(folder)]}


def _read(file: Path) -> SigningKey:
    algorithm = file.stem.rpartition("-")[2]
    wanted = ec.EllipticCurvePrivateKey if algorithm == "ES384" else rsa.RSAPrivateKey
    try:
        private = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("keys-unusable", f"{file}: {type(error).__name__}") from None
    if not isinstance(private, wanted):
        raise ConfigError("keys-unusable", f"{file}: not a key for {algorithm}")
    return SigningKey(file.stem, algorithm, private)
