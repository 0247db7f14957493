"""Posts a report to a FHIR server and tells what became of it.

A transaction of conditional creates may be posted any number of times, so everything that is not
clearly the server's last word is tried again; how often is the caller's business. Where EHRs hide
a fatal error behind a 500, that bound is what ends the trying. What a server says of itself, not of
this report, has reasons of its own: an outage is no try, and a server that does not let us in, or
is another one than we think, is the administrator's to mend.

| answer                                             | raised   | reason                       |
|----------------------------------------------------|----------|------------------------------|
| 2xx, every entry 2xx                               | -        | -                            |
| no connection, broken connection, bad certificate  | TryLater | `destination-unreachable`    |
| a connection, but too slow an answer               | TryLater | `destination-timeout`        |
| 429, 502, 503, 504                                 | TryLater | `destination-unavailable`    |
| 408, 409, 425, every other 5xx                     | TryLater | `destination-busy`           |
| 2xx, but no readable transaction-response          | TryLater | `destination-answer-invalid` |
| 401, 403                                           | Refused  | `destination-denied`         |
| redirects, 404, 405, 410, 415, of the whole        | Refused  | `destination-misconfigured`  |
| 404, 409, 410, 412 of what was sent with If-Match  | Refused  | `destination-conflict`       |
| every other status                                 | Refused  | `destination-refused`        |

An entry's status counts like the response's own. Proxies and additional certificate authorities
are taken from the environment (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR), as usual.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson
from pydantic import SecretStr

from integration.deadline import all_within, connect_s, left_s
from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.codes import Json
from integration.fhir.profiles import condition_of
from integration.fhir.revision import sendable

MAX_RESPONSE_BYTES = 4 * 2**20
_UNAVAILABLE = {429, 502, 503, 504}
_TRANSIENT = {408, 409, 425}
_DENIED = {401, 403}
_GONE = {404, 410}
_CONFLICT = {409, 412, *_GONE}  # which one depends on the server
_MISCONFIGURED = {*range(300, 400), 404, 405, 410, 415}
_FHIR_JSON = "application/fhir+json"
_MAX_ISSUES = 3
# What of an OperationOutcome is kept: codes of the standard and plain element paths. Its texts, and
# paths with values in them, may quote the patient.
_ISSUE_CODE = re.compile(r"[a-z-]{1,30}")
_PATH = re.compile(r"[A-Za-z]+(\.[A-Za-z]+(\[(x|\d{1,3})\])?|\.\d{1,3})*")
_LOCATION = re.compile(r"(?:^|/)([A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/|$)")
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_TAG = re.compile(r'(?:W/)?"[A-Za-z0-9._-]{1,64}"')


@dataclass(frozen=True)
class Place:
    """Where a resource is, `Kind/id`, with which status it came there, and its ETag or ""."""

    status: int
    reference: str
    tag: str = ""

    @property
    def told(self) -> str:
        """All in short."""
        return f"{self.status} {self.reference} {self.tag}".rstrip()


class FhirClient:
    """One FHIR server; thread-safe.

    Raises:
        ConfigError: `fhir-url-invalid`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: SecretStr | None = None,
        auth: httpx.Auth | None = None,
        timeout_s: float = 30.0,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        headers = {
            "Accept": _FHIR_JSON,
            "Content-Type": _FHIR_JSON,
            "Prefer": "return=minimal",
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._url = _checked(base_url)
        self._timeout_s = timeout_s
        self._max_response_bytes = max_response_bytes
        # A redirect would carry the patient and the token to a place nobody configured.
        self._http = httpx.Client(
            headers=headers, auth=auth, timeout=timeout_s, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post_transaction(self, bundle: Json) -> str:
        """Post a transaction Bundle and return the answer in short, without patient data.

        Raises:
            TryLater: see the table above; with the wait that the server asked for.
            Refused: see the table above.
        """
        response, body = self._exchange("POST", self._url, orjson.dumps(sendable(bundle)))
        answer = _parsed(body)
        if any("ifMatch" in entry["request"] for entry in bundle["entry"]):
            _judge_match(response.status_code)
        _judge_whole(response.status_code, answer, response.headers.get("retry-after"))
        return _read_answer(bundle, answer)

    def write(self, entry: Json) -> Place:
        """Create or update one resource, as the entry of a transaction asks for it.

        Raises:
            TryLater: see the table above.
            Refused: see the table above.
        """
        asked = entry["request"]
        headers = {}
        url = f"{self._url}/{asked['url']}"
        if asked["method"] == "POST":
            headers["If-None-Exist"] = condition_of(entry)
        elif "ifMatch" in asked:
            headers["If-Match"] = asked["ifMatch"]
        else:
            url = f"{self._url}/{asked['url'].partition('?')[0]}?{condition_of(entry)}"
        content = orjson.dumps(entry["resource"])
        response, body = self._exchange(asked["method"], url, content, headers)
        answer = _parsed(body)
        status = response.status_code
        if "ifMatch" in asked:
            _judge_match(status)
        _judge_whole(status, answer, response.headers.get("retry-after"))
        tag = _tag(response.headers.get("etag"))
        if "ifMatch" in asked:
            return Place(status, asked["url"], tag)
        kind = entry["resource"]["resourceType"]
        id_ = _id_in(response.headers.get("location"), kind) or _id_of(answer, kind)
        if id_ is None:
            found = self.search(kind, dict(httpx.QueryParams(condition_of(entry))))
            if len(found) != 1:
                raise _invalid("it does not tell where the resource is")
            id_ = found[0]
        return Place(status, f"{kind}/{id_}", tag)

    def read(self, reference: str) -> tuple[Json, str] | None:
        """Return a resource, `Kind/id`, and its ETag or ""; None where it is not there any more.

        Raises:
            TryLater: see the table above.
            Refused: see the table above.
        """
        response, body = self._exchange("GET", f"{self._url}/{reference}")
        if response.status_code in _GONE:
            return None
        answer = _parsed(body)
        _judge_whole(response.status_code, answer, response.headers.get("retry-after"))
        if not isinstance(answer, dict):
            raise _invalid("not a resource")
        return answer, _tag(response.headers.get("etag"))

    def search(self, kind: str, parameters: dict[str, str]) -> list[str]:
        """Return the ids of what a search finds, of its first page.

        Raises:
            TryLater: see the table above.
            Refused: see the table above.
        """
        url = f"{self._url}/{kind}?{httpx.QueryParams(parameters)}"
        response, body = self._exchange("GET", url)
        answer = _parsed(body)
        _judge_whole(response.status_code, answer, response.headers.get("retry-after"))
        if not isinstance(answer, dict) or answer.get("type") != "searchset":
            raise _invalid("not a searchset")
        entries = answer.get("entry") or []
        resources = [e.get("resource") for e in entries if isinstance(e, dict)]
        return [id_ for resource in resources if (id_ := _id_of(resource, kind))]

    def _exchange(
        self,
        method: str,
        url: str,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[httpx.Response, bytes]:
        try:
            with (
                all_within(self._timeout_s),
                self._http.stream(
                    method,
                    url,
                    content=content,
                    headers=headers,
                    timeout=httpx.Timeout(left_s(), connect=connect_s()),
                ) as response,
            ):
                return response, b"".join(self._limited(response))
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout):
            raise TryLater("destination-timeout", "no answer in time") from None
        except httpx.TransportError as error:
            # Its text may hold the URL, and that a password.
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            what = "its certificate is not trusted" if untrusted else type(error).__name__
            raise TryLater("destination-unreachable", what) from None
        except httpx.DecodingError:
            raise _invalid("it cannot be decompressed") from None

    def _limited(self, response: httpx.Response) -> Iterator[bytes]:
        """Yield the body; httpx limits the wait for a piece, this the whole."""
        size = 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > self._max_response_bytes:
                if response.is_error:  # the status has said it all
                    return
                raise _invalid(f"longer than {self._max_response_bytes} bytes")
            left_s()
            yield piece


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None when absent or unreadable."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC of a clock that does not know its zone
        moment = moment.replace(tzinfo=UTC)
    return max((moment - now).total_seconds(), 0.0)


def _checked(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError("fhir-url-invalid", "base_url is not an http or https URL")
    return base_url.rstrip("/")


def _judge(status: int, outcome: object) -> None:
    """Return on success of an entry, raise otherwise."""
    if 200 <= status < 300:
        return
    detail = f"status {status}{_issues(outcome)}"
    if status in _TRANSIENT | _UNAVAILABLE or status >= 500:
        raise TryLater("destination-busy", detail)
    raise Refused("destination-refused", detail)


def _judge_match(status: int) -> None:
    """Raise where something else may stand there than what is to be written over."""
    if status in _CONFLICT:
        raise Refused("destination-conflict", f"status {status}: it was changed there")


def _judge_whole(status: int, outcome: object, retry_after: str | None) -> None:
    """Return on success of the request, raise otherwise."""
    detail = f"status {status}{_issues(outcome)}"
    wait_s = retry_after_s(retry_after, datetime.now(UTC))
    if status in _UNAVAILABLE:
        raise TryLater("destination-unavailable", detail, wait_s)
    if wait_s is not None and (status in _TRANSIENT or status >= 500):
        raise TryLater("destination-busy", detail, wait_s)
    if status in _DENIED:
        raise Refused("destination-denied", detail)
    if status in _MISCONFIGURED:
        raise Refused("destination-misconfigured", detail)
    _judge(status, outcome)


def _read_answer(bundle: Json, answer: object) -> str:
    """Return status and location of the DiagnosticReport; every entry must have succeeded."""
    if not isinstance(answer, dict) or answer.get("type") != "transaction-response":
        raise _invalid("not a transaction-response")
    entries = answer.get("entry")
    if not isinstance(entries, list):
        raise _invalid("no entries")
    if len(entries) != len(bundle["entry"]):
        raise _invalid(f"{len(entries)} entries for {len(bundle['entry'])}")
    told = "accepted"
    for asked, entry in zip(bundle["entry"], entries, strict=True):
        response = entry.get("response") if isinstance(entry, dict) else None
        status = _status(response)
        if not isinstance(response, dict) or status is None:
            raise _invalid("an entry without a status")
        _judge(status, response.get("outcome"))
        if asked["resource"]["resourceType"] == "DiagnosticReport":
            told = _told(status, response)
    return told


def _told(status: int, response: Json) -> str:
    id_ = _id_in(response.get("location"), "DiagnosticReport")
    if id_ is None:
        return str(status)
    return Place(status, f"DiagnosticReport/{id_}", _tag(response.get("etag"))).told


def _tag(value: object) -> str:
    return value if isinstance(value, str) and _TAG.fullmatch(value) else ""


def _id_in(location: object, kind: str) -> str | None:
    found = _LOCATION.search(location) if isinstance(location, str) else None
    return found[2] if found and found[1] == kind else None


def _id_of(resource: object, kind: str) -> str | None:
    if not isinstance(resource, dict) or resource.get("resourceType") != kind:
        return None
    id_ = resource.get("id")
    return id_ if isinstance(id_, str) and _ID.fullmatch(id_) else None


def _status(response: object) -> int | None:
    """Read entry.response.status, such as `201 Created`."""
    text = response.get("status") if isinstance(response, dict) else None
    digits = text[:3] if isinstance(text, str) else ""
    return int(digits) if re.fullmatch(r"[1-5]\d\d", digits, re.ASCII) else None


def _issues(outcome: object) -> str:
    """Return codes and element paths of an OperationOutcome, or "" when it is something else."""
    issues = outcome.get("issue") if isinstance(outcome, dict) else None
    told = [_issue(issue) for issue in issues[:_MAX_ISSUES]] if isinstance(issues, list) else []
    return "; " + ", ".join(told) if told else ""


def _issue(issue: object) -> str:
    code = issue.get("code") if isinstance(issue, dict) else None
    paths = issue.get("expression") if isinstance(issue, dict) else None
    known = code if isinstance(code, str) and _ISSUE_CODE.fullmatch(code) else "issue"
    plain = [p for p in paths if _is_plain(p)] if isinstance(paths, list) else []
    return f"{known} at {plain[0]}" if plain else known


def _is_plain(path: object) -> bool:
    return isinstance(path, str) and len(path) <= 120 and bool(_PATH.fullmatch(path))


def _parsed(body: bytes) -> object:
    """Return the JSON value, or None."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _invalid(what: str) -> TryLater:
    return TryLater("destination-answer-invalid", f"the answer is unreadable: {what}")
