"""Reads from a FHIR server; nothing is ever written there.

Only the configured server is asked: a link or a reference that leads to another origin is not
followed, because our token would go with it.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from pydantic import SecretStr

from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.client import retry_after_s
from integration.fhir.codes import Json
from integration.fhir.element import Element
from integration.fhir.parsing import parse_resource

MAX_PAGES = 10_000
_TRANSIENT = {408, 409, 425, 429}
_GONE = {403, 404, 410}
_LOCAL = re.compile(
    r"([A-Z][A-Za-z]{0,63})/([A-Za-z0-9.-]{1,64})(?:/_history/[A-Za-z0-9.-]{1,64})?"
)


@dataclass(frozen=True)
class Page:
    """One page of a search.

    Attributes:
        matches: what was asked for.
        included: what came along.
        told_at: when, by the server's clock; None where it does not tell.
    """

    matches: list[Json] = field(repr=False)
    included: list[Json] = field(repr=False)
    told_at: datetime | None


class SourceClient:
    """One FHIR server; thread-safe."""

    def __init__(
        self,
        base_url: str,
        *,
        token: SecretStr | None = None,
        auth: httpx.Auth | None = None,
        timeout_s: float = 30.0,
        max_bytes: int = 64 * 2**20,
    ) -> None:
        """Take where it is and how we show who we are.

        Args:
            base_url: of the server.
            token: bearer token, or None.
            auth: instead of a token, what adds one to each request.
            timeout_s: for one request, from its start to the last byte.
            max_bytes: of one answer.

        Raises:
            ConfigError: `source-url-invalid`.
        """
        try:
            self._base = httpx.URL(base_url.rstrip("/") + "/")
        except httpx.InvalidURL:
            self._base = httpx.URL()
        if self._base.scheme not in {"http", "https"} or not self._base.host:
            raise ConfigError("source-url-invalid", "base_url is not an http or https URL")
        headers = {"Accept": "application/fhir+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._http = httpx.Client(
            headers=headers, auth=auth, timeout=timeout_s, follow_redirects=False
        )

    @property
    def base_url(self) -> str:
        """URL without a slash at its end."""
        return str(self._base).rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def clock(self) -> datetime | None:
        """Return what time it is for the server, where it tells.

        Raises:
            TryLater, Refused: as `search`.
        """
        return self._get(self._base.join("metadata"))[1]

    def search(self, kind: str, parameters: Sequence[tuple[str, str]]) -> Iterator[Page]:
        """Yield the pages of a search, by its next links.

        Raises:
            TryLater: `source-unavailable`.
            Refused: `source-refused`: the server's last word, or an answer that is no searchset;
                what `parse_resource` refuses.
        """
        url: httpx.URL | None = self._base.join(kind).copy_merge_params(list(parameters))
        visited: set[str] = set()
        while url is not None:
            if str(url) in visited or len(visited) >= MAX_PAGES:
                raise Refused("source-refused", "its next links go in circles")
            visited.add(str(url))
            bundle, told_at = self._get(url)
            element = Element(bundle, "Bundle")
            if bundle["resourceType"] != "Bundle" or element.text("type") != "searchset":
                raise Refused("source-refused", "its answer to a search is no searchset")
            yield _page(element, told_at)
            url = self._next(element)

    def read(self, reference: str) -> Json | None:
        """Return a resource of this server, or None where it has none or gives none.

        Args:
            reference: `Type/id`, or a URL below the base; a version is not looked at.

        Raises:
            TryLater, Refused: as `search`.
        """
        local = self.local(reference)
        if local is None:
            return None
        try:
            return self._get(self._base.join(local))[0]
        except _NotGiven:
            return None
        except Refused as error:
            # Who may not read at all has to be told; one resource that is broken stops nothing.
            if error.reason == "source-refused":
                raise
            return None

    def local(self, reference: str) -> str | None:
        """Return `Type/id` of a reference to this server's resource, or None."""
        match = _LOCAL.fullmatch(reference.removeprefix(str(self._base)))
        return f"{match[1]}/{match[2]}" if match else None

    def _next(self, bundle: Element) -> httpx.URL | None:
        for link in bundle.items("link"):
            if link.text("relation") == "next":
                url = self._base.join(link.text("url"))
                if _origin(url) != _origin(self._base):
                    raise Refused("source-refused", "its next link leads to another server")
                return url
        return None

    def _get(self, url: httpx.URL) -> tuple[Json, datetime | None]:
        try:
            with self._http.stream("GET", url) as response:
                body = self._limited(response)
        except httpx.TransportError as error:
            # Its text may hold the URL, and that a patient.
            raise TryLater("source-unavailable", type(error).__name__) from None
        except httpx.DecodingError:
            raise TryLater("source-unavailable", "it cannot be decompressed") from None
        status = response.status_code
        if status in _TRANSIENT or status >= 500:
            wait = retry_after_s(response.headers.get("retry-after"), datetime.now(UTC))
            raise TryLater("source-unavailable", f"status {status}", wait)
        if status in _GONE:
            raise _NotGiven("source-refused", f"status {status}")
        if not response.is_success:
            raise Refused("source-refused", f"status {status}")
        return parse_resource(body), _told_at(response)

    def _limited(self, response: httpx.Response) -> bytes:
        pieces, size, end = [], 0, time.monotonic() + self._timeout_s
        for piece in response.iter_bytes():
            pieces.append(piece)
            size += len(piece)
            if size > self._max_bytes:
                raise Refused("source-refused", f"longer than {self._max_bytes} bytes")
            if time.monotonic() > end:
                raise TryLater("source-unavailable", f"longer than {self._timeout_s:g} s")
        return b"".join(pieces)


class _NotGiven(Refused):
    """There is no such resource, or not for us."""


def _page(bundle: Element, told_at: datetime | None) -> Page:
    matches: list[Json] = []
    included: list[Json] = []
    for entry in bundle.items("entry"):
        resource, search = entry.child("resource"), entry.child("search")
        mode = (search.text("mode") if search else "") or "match"
        if resource is not None and mode in {"match", "include"}:
            (matches if mode == "match" else included).append(resource.value)
    return Page(matches, included, told_at)


def _origin(url: httpx.URL) -> tuple[Any, ...]:
    return url.scheme, url.host, url.port


def _told_at(response: httpx.Response) -> datetime | None:
    try:
        told = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told
