"""Who calls the FHIR interface: by a token all know, by a signed one, or by asking who issued it.

    static         one of the settings
    JWT            signed by a key of the issuer's JWKS (RFC 7519, 7517): issuer, audience, times
    introspection  opaque to us; its issuer is asked (RFC 7662)

A token is tried in this order by whatever is configured. Nothing of a token is ever logged.
"""

import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import httpx
import jwt
import orjson
from pydantic import SecretStr

from integration.errors import ConfigError, TryLater
from integration.fhir.settings import HttpSettings
from integration.security.roles import scopes_of
from integration.security.scopes import Need, given

ALGORITHMS = [*("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "ES256", "ES384", "EdDSA"]
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
MAX_TOKEN = 16_384  # characters
STATIC = "bearer"
_LEEWAY_S = 30
_KEYS_LIVE_S = 600.0
_KEYS_REST_S = 30.0  # between two looks for a key that was not there
_MAX_ANSWER = 2**20
_MAX_REMEMBERED = 4096
_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)

Clock = Callable[[], float]


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: of the client, for what is stored.
        scopes: None: everything.
        source: of the settings, whose server this is: all it may do is say so when it has news.
    """

    name: str
    scopes: frozenset[str] | None = None
    source: str | None = None

    def may_read(self, kind: str) -> bool:
        """Tell whether the scopes give to read resources of a type."""
        return self._may(Need(kind, "r"))

    def may_update(self, kind: str) -> bool:
        """Tell whether the scopes give to update resources of a type."""
        return self._may(Need(kind, "u"))

    def _may(self, need: Need) -> bool:
        return self.scopes is None or given(self.scopes, need)


class Authority(Protocol):
    """Knows some tokens."""

    def caller(self, token: str) -> Caller | None:
        """Return who shows this token, or None where it is not valid here.

        Raises:
            TryLater: `authority-unreachable`.
        """


class Callers:
    """Every way that is configured; thread-safe."""

    def __init__(self, *authorities: Authority) -> None:
        """Take the authorities in the order they are asked."""
        self._authorities = authorities

    def caller(self, authorization: str) -> Caller | None:
        """Return who shows an Authorization header, or None.

        Raises:
            TryLater: `authority-unreachable`: whether it is valid cannot be told now.
        """
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            return None
        return next(filter(None, (a.caller(token) for a in self._authorities)), None)


def callers_of(
    settings: HttpSettings, notifiers: Mapping[str, SecretStr] = MappingProxyType({})
) -> Callers | None:
    """Return who may ask below /fhir, or None where everybody may.

    Args:
        settings: of the interface.
        notifiers: tokens of the FHIR servers that tell what they have, by source.

    Raises:
        ConfigError: `jwks-unusable`.
    """
    found: list[Authority] = []
    if settings.token is not None:
        found.append(StaticToken(settings.token))
    if (jwt := settings.jwt) is not None:
        found.append(SignedTokens(jwt.issuer, jwt.audience, jwt.jwks, roles=jwt.roles_claim))
    if (asked := settings.introspection) is not None:
        known = (asked.url, asked.client_id, asked.client_secret, asked.cache_s)
        found.append(IntrospectedTokens(*known, roles=asked.roles_claim))
    tells = frozenset({"system/Observation.c"})
    for name, token in notifiers.items():
        found.append(StaticToken(token, Caller(f"source:{name}", tells, source=name)))
    return Callers(*found) if found else None


class StaticToken:
    """One token for all who have it."""

    def __init__(self, token: SecretStr, caller: Caller | None = None) -> None:
        """Take the token, and whom it names: by default `STATIC`, who may do everything."""
        self._token = token.get_secret_value().encode()
        self._caller = caller or Caller(STATIC)

    def caller(self, token: str) -> Caller | None:
        """Compare; a wrong one takes as long as a right one."""
        right = hmac.compare_digest(token.encode("latin-1", "replace"), self._token)
        return self._caller if right else None


class SignedTokens:
    """JWTs of one issuer."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks: str,
        clock: Clock = time.monotonic,
        *,
        roles: str | None = None,
    ) -> None:
        """Take what every token is compared with.

        Args:
            issuer: `iss`.
            audience: has to be in `aud`.
            jwks: URL or file of the issuer's public keys.
            clock: seconds.
            roles: claim with roles, a name or a path of names with dots; None: they have none.

        Raises:
            ConfigError: `jwks-unusable`: a file that has no keys. A URL is asked when needed.
        """
        self._issuer, self._audience, self._roles = issuer, audience, roles
        self._keys = _Keys(jwks, clock)

    def caller(self, token: str) -> Caller | None:
        """Return whom a valid token names; scopes of `scope` or `scp`."""
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.find(header.get("kid"), header.get("alg"))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError:
            return None
        return Caller(_name(claims), _scopes(claims, self._roles))


class IntrospectedTokens:
    """Opaque tokens, of which their issuer is asked."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: SecretStr,
        cache_s: float,
        clock: Clock = time.monotonic,
        *,
        roles: str | None = None,
    ) -> None:
        """Take where to ask.

        Args:
            url: introspection endpoint.
            client_id: our name there.
            client_secret: our secret there.
            cache_s: how long an answer is believed; so long lives a token that was withdrawn.
            clock: seconds.
            roles: as for `SignedTokens`.
        """
        basic = httpx.BasicAuth(client_id, client_secret.get_secret_value())
        self._http = httpx.Client(timeout=_TIMEOUT_S, auth=basic, follow_redirects=False)
        self._url, self._cache_s, self._clock, self._roles = url, cache_s, clock, roles
        self._known: dict[bytes, tuple[float, Caller | None]] = {}
        self._lock = threading.Lock()

    def caller(self, token: str) -> Caller | None:
        """Return whom an active token names."""
        key, now = hashlib.sha256(token.encode()).digest(), self._clock()
        with self._lock:
            until, found = self._known.get(key, (0.0, None))
        if now < until:
            return found
        claims = self._ask(token)
        lives_s, found = self._cache_s, None
        if claims.get("active") is True:
            found = Caller(_name(claims), _scopes(claims, self._roles))
            expires = claims.get("exp")
            if isinstance(expires, int | float):
                lives_s = min(lives_s, expires - time.time())
        with self._lock:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = (now + lives_s, found)
        return found

    def _ask(self, token: str) -> dict[str, Any]:
        form = {"token": token, "token_type_hint": "access_token"}
        headers = {"Accept": "application/json"}
        try:
            answer = self._http.post(self._url, data=form, headers=headers)
            claims = orjson.loads(answer.content[:_MAX_ANSWER]) if answer.is_success else None
        except (httpx.HTTPError, orjson.JSONDecodeError):
            claims = None
        if not isinstance(claims, dict):
            _log.error("the introspection endpoint does not answer")
            raise TryLater("authority-unreachable", "the introspection endpoint does not answer")
        return claims


class _Keys:
    """Public keys, read again when they are old or one is missing, but not at any forger's pace."""

    def __init__(self, place: str, clock: Clock) -> None:
        self._place, self._clock = place, clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._keys: list[dict[str, Any]] = []
        if not _is_url(place):
            self._refresh(_KEYS_LIVE_S)
            if not self._keys:
                raise ConfigError("jwks-unusable", f"{place} has no public keys")

    def find(self, key_id: object, algorithm: object) -> jwt.PyJWK | None:
        """Return the one key that fits a token's header, or None.

        Raises:
            PyJWTError: the key cannot be used.
        """
        if algorithm not in ALGORITHMS:
            return None
        with self._lock:
            self._refresh(_KEYS_LIVE_S)
            found = self._fitting(key_id, str(algorithm))
            if found is None:
                self._refresh(_KEYS_REST_S)
                found = self._fitting(key_id, str(algorithm))
        return None if found is None else jwt.PyJWK(found, str(algorithm))

    def _fitting(self, key_id: object, algorithm: str) -> dict[str, Any] | None:
        fitting = [
            key
            for key in self._keys
            if key["kty"] == _KEY_TYPES[algorithm[:2]]
            and key.get("alg", algorithm) == algorithm
            and key.get("use", "sig") == "sig"
            and (key_id is None or key.get("kid") == key_id)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def _refresh(self, older_than_s: float) -> None:
        now = self._clock()
        if now - self._read_at < older_than_s:
            return
        self._read_at = now
        try:
            told = orjson.loads(_content(self._place))["keys"]
            keys = [key for key in told if key.get("kty") in _KEY_TYPES.values()]
        except (OSError, httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError):
            # Those that are known go on being good: an outage of the issuer locks nobody out.
            _log.error("the JWKS cannot be read place=%s", self._place)
            return
        self._keys = keys


def _content(place: str) -> bytes:
    if not _is_url(place):
        return Path(place).read_bytes()
    answer = httpx.get(place, timeout=_TIMEOUT_S, follow_redirects=False).raise_for_status()
    return answer.content[:_MAX_ANSWER]


def _is_url(place: str) -> bool:
    return place.startswith(("https://", "http://"))


def _name(claims: dict[str, Any]) -> str:
    """Return the client; a token's subject where it names none."""
    named = (claims.get(claim) for claim in ("client_id", "azp", "sub"))
    return next((name for name in named if isinstance(name, str) and name), "unnamed")


def _scopes(claims: dict[str, Any], roles: str | None) -> frozenset[str]:
    scopes = frozenset(_words(claims.get("scope", claims.get("scp", ""))))
    if roles is None:
        return scopes
    node: object = claims
    for name in roles.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return scopes | scopes_of(_words(node))


def _words(told: object) -> list[str]:
    """Return the words of a string, or the strings of a list."""
    words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
    return [word for word in words if isinstance(word, str)]
