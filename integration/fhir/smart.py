"""SMART Backend Services: how we get a token for somebody else's FHIR server, and keep it.

We say who we are with a JWT that one of our keys signed (private_key_jwt, SMART App Launch 2.2,
"Asymmetric authentication" and "Backend Services"); where tokens are given the server tells itself.

| what happened                                     | raised   | reason              |
|---------------------------------------------------|----------|---------------------|
| no connection, too slow, 429, 5xx                 | TryLater | `token-unavailable` |
| no configuration, refused for each of our keys    | Refused  | `token-refused`     |
| we have no key that the server understands        | Refused  | `token-refused`     |
"""

import re
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jwt
import orjson

from integration.deadline import all_within, connect_s, left_s
from integration.errors import Refused, TryLater
from integration.fhir.settings import SmartSettings
from integration.sections import is_loopback
from integration.security.signing_keys import SigningKey, read_keys

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIVES_S = 240  # at most five minutes
_TOKEN_LIVES_S = 300.0  # where the server does not say
_RENEWED_AT = 0.9  # of a token's life
_CONFIGURATION_LIVES_S = 3600.0
_MAX_ANSWER_BYTES = 2**18
_ERROR = re.compile(r"[a-z_]{1,40}")


class SmartAuth(httpx.Auth):
    """Puts a valid token on each request; for a synchronous client, threads may share it."""

    def __init__(
        self,
        base_url: str,
        settings: SmartSettings,
        keys: Path,
        *,
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read nothing yet.

        Args:
            base_url: of the FHIR server.
            settings: who we are there.
            keys: folder of our keys; read for each token, so that a new key counts at once.
            timeout_s: for one request.
            clock: seconds since 1970.
        """
        self._base_url = base_url.rstrip("/")
        self._settings = settings
        self._keys = keys
        self._clock = clock
        # A redirect would carry our assertion to a place nobody configured.
        self._http = httpx.Client(follow_redirects=False)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._token, self._renewed_at = "", 0.0
        self._configuration: dict[str, Any] = {}
        self._configured_until = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send a request with a token, and once more with a new one if that was refused."""
        shown = self.token()
        response = yield self._showing(shown, request)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            yield self._showing(self.token(instead_of=shown), request)

    def _showing(self, token: str, request: httpx.Request) -> httpx.Request:
        """Put a token on a request, which may take what time it has left."""
        request.headers["Authorization"] = f"Bearer {token}"
        with all_within(self._timeout_s):
            request.extensions["timeout"] = _in_time().as_dict()
        return request

    def token(self, instead_of: str | None = None) -> str:
        """Return a token, from memory while it lives and is not the one that was refused.

        Raises:
            TryLater: see above.
            Refused: see above.
        """
        with self._lock:
            if self._clock() >= self._renewed_at or self._token == instead_of:
                answer = self._asked()
                self._token = str(answer["access_token"])
                self._renewed_at = self._clock() + _RENEWED_AT * _life_s(answer)
            return self._token

    def _asked(self) -> dict[str, Any]:
        """Ask with our newest key; with an older one, if the server does not know that yet."""
        configuration = self._configured()
        understood = configuration.get("token_endpoint_auth_signing_alg_values_supported")
        keys = [
            key
            for key in read_keys(self._keys)
            if not isinstance(understood, list) or key.algorithm in understood
        ]
        said = "no key of ours that it understands: hisbundle keys new"
        for key in keys:
            status, answer = self._post(configuration["token_endpoint"], key)
            if status == httpx.codes.OK and isinstance(answer.get("access_token"), str):
                return answer
            error = answer.get("error")
            known = isinstance(error, str) and _ERROR.fullmatch(error)
            said = f"status {status}{f', {error}' if known else ''}"
            if error != "invalid_client":
                break
        raise Refused("token-refused", said)

    def _post(self, url: str, key: SigningKey) -> tuple[int, dict[str, Any]]:
        now = int(self._clock())
        client = self._settings.client_id
        claims = {
            "iss": client,
            "sub": client,
            "aud": url,
            "iat": now,
            "exp": now + _ASSERTION_LIVES_S,
            "jti": str(uuid4()),
        }
        signed = jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.kid})
        form = {
            "grant_type": "client_credentials",
            "scope": self._settings.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": signed,
        }
        return self._exchange("POST", url, data=form)

    def _configured(self) -> dict[str, Any]:
        if given := self._settings.token_url:
            return {"token_endpoint": given}
        if self._clock() >= self._configured_until:
            url = f"{self._base_url}/.well-known/smart-configuration"
            status, answer = self._exchange("GET", url)
            endpoint = answer.get("token_endpoint")
            if status != httpx.codes.OK or not isinstance(endpoint, str):
                raise Refused("token-refused", f"no smart-configuration: status {status}")
            where = urlsplit(endpoint)
            if where.scheme != "https" and not is_loopback(where.hostname or ""):
                raise Refused("token-refused", "its token_endpoint is not https")
            self._configuration = answer
            self._configured_until = self._clock() + _CONFIGURATION_LIVES_S
        return self._configuration

    def _exchange(
        self, method: str, url: str, data: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON object, empty where the answer is something else."""
        try:
            headers = {"Accept": "application/json"}
            with (
                all_within(self._timeout_s),
                self._http.stream(
                    method, url, data=data, headers=headers, timeout=_in_time()
                ) as response,
            ):
                body = b""
                for piece in response.iter_bytes():
                    left_s()
                    body += piece
                    if len(body) > _MAX_ANSWER_BYTES:
                        break
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise TryLater("token-unavailable", type(error).__name__) from None
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise TryLater("token-unavailable", f"status {status}")
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            answer = None
        return status, answer if isinstance(answer, dict) else {}


def _in_time() -> httpx.Timeout:
    return httpx.Timeout(left_s(), connect=connect_s())


def _life_s(answer: dict[str, Any]) -> float:
    told = answer.get("expires_in")
    usable = isinstance(told, int | float) and not isinstance(told, bool) and told > 0
    return float(told) if usable and told is not None else _TOKEN_LIVES_S
