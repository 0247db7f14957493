"""Posts a report to a FHIR server and tells what became of it.

A transaction of conditional creates may be posted any number of times, so everything that is not
clearly the server's last word is tried again; how often is the caller's business. Where EHRs hide
a fatal error behind a 500, that bound is what ends the trying.

| answer                                             | raised   | reason                       |
|----------------------------------------------------|----------|------------------------------|
| 2xx, every entry 2xx                               | -        | -                            |
| no connection, broken connection, bad certificate  | TryLater | `destination-unreachable`    |
| too slow                                           | TryLater | `destination-timeout`        |
| 408, 409, 425, 429, 5xx                            | TryLater | `destination-busy`           |
| 2xx, but no readable transaction-response          | TryLater | `destination-answer-invalid` |
| every other status, redirects among them           | Refused  | `destination-refused`        |

An entry's status counts like the response's own. Proxies and additional certificate authorities
are taken from the environment (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR), as usual.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import orjson
from pydantic import SecretStr

from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.codes import Json

MAX_RESPONSE_BYTES = 4 * 2**20
_TRANSIENT = {408, 409, 425, 429}
_FHIR_JSON = "application/fhir+json"
_MAX_ISSUES = 3
# What of an OperationOutcome is kept: codes of the standard and plain element paths. Its texts, and
# paths with values in them, may quote the patient.
_ISSUE_CODE = re.compile(r"[a-z-]{1,30}")
_PATH = re.compile(r"[A-Za-z]+(\.[A-Za-z]+(\[(x|\d{1,3})\])?|\.\d{1,3})*")
_LOCATION = re.compile(r"(?:^|/)(DiagnosticReport/[A-Za-z0-9.-]{1,64})(?:/_history/|$)")


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
        self._http = httpx.Client(headers=headers, timeout=timeout_s, follow_redirects=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post_transaction(self, bundle: Json) -> str:
        """Post a transaction Bundle and return the answer in short, without patient data.

        Raises:
            TryLater: see the table above; with the wait that the server asked for.
            Refused: see the table above.
        """
        response, body = self._post(orjson.dumps(bundle))
        answer = _parsed(body)
        _judge(response.status_code, answer, response.headers.get("retry-after"))
        return _read_answer(bundle, answer)

    def _post(self, content: bytes) -> tuple[httpx.Response, bytes]:
        try:
            with self._http.stream("POST", self._url, content=content) as response:
                return response, b"".join(self._limited(response))
        except httpx.TimeoutException:
            raise TryLater(
                "destination-timeout", f"no answer within {self._timeout_s:g} s"
            ) from None
        except httpx.TransportError as error:
            # Its text may hold the URL, and that a password.
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            what = "its certificate is not trusted" if untrusted else type(error).__name__
            raise TryLater("destination-unreachable", what) from None
        except httpx.DecodingError:
            raise _invalid("it cannot be decompressed") from None

    def _limited(self, response: httpx.Response) -> Iterator[bytes]:
        """Yield the body; httpx limits the wait for a piece, this the whole."""
        size, end = 0, time.monotonic() + self._timeout_s
        for piece in response.iter_bytes():
            size += len(piece)
            if size > self._max_response_bytes:
                if response.is_error:  # the status has said it all
                    return
                raise _invalid(f"longer than {self._max_response_bytes} bytes")
            if time.monotonic() > end:
                raise TryLater("destination-timeout", f"longer than {self._timeout_s:g} s")
            yield piece


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None when absent or unreadable."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}\s*", value, re.ASCII):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
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
        raise ConfigError("fhir-url-invalid", "fhir.base_url is not an http or https URL")
    return base_url.rstrip("/")


def _judge(status: int, outcome: object, retry_after: str | None = None) -> None:
    """Return on success, raise otherwise."""
    if 200 <= status < 300:
        return
    detail = f"status {status}{_issues(outcome)}"
    if status in _TRANSIENT or status >= 500:
        raise TryLater("destination-busy", detail, retry_after_s(retry_after, datetime.now(UTC)))
    raise Refused("destination-refused", detail)


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
            told = _told(status, response.get("location"))
    return told


def _told(status: int, location: object) -> str:
    found = _LOCATION.search(location) if isinstance(location, str) else None
    return f"{status} {found[1]}" if found else str(status)


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
