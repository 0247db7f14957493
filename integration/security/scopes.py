"""What a caller may do, by SMART scopes (App Launch 2.0, scopes-and-launch-context; and 1.0's).

`system/Observation.c`, `system/DiagnosticReport.rs`, `system/*.read`, `user/Observation.write`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# Level, type, and letters of 2.0 in their one order or a word of 1.0. A scope with a query narrows
# what it gives to some resources; we could not keep that promise, so it gives nothing.
_SCOPE = re.compile(r"(?:system|user)/(\*|[A-Z][A-Za-z]{0,63})\.(c?r?u?d?s?|read|write|\*)")
_WORDS = {"read": "rs", "write": "cud", "*": "cruds"}
_KIND = re.compile(r"[A-Z][A-Za-z]{0,63}")
# What is posted to the base brings ECGs, whatever its type; so does a notification.
_BRINGS_ECGS = {"", "$process-message", "notify"}


@dataclass(frozen=True)
class Need:
    """What a request asks for.

    Attributes:
        kind: type of resource.
        letter: c, r, u, d or s.
    """

    kind: str
    letter: str

    def __str__(self) -> str:
        return f"system/{self.kind}.{self.letter}"


def need_of(method: str, path: str) -> Need | None:
    """Return what a request to the FHIR interface needs, or None where no scope gives it.

    Args:
        method: of HTTP.
        path: below the base, without a slash in front, such as `DiagnosticReport/1`.
    """
    kind, *rest = path.rstrip("/").split("/")
    if method in {"POST", "PUT"} and kind in _BRINGS_ECGS:
        return Need("Observation", "c")
    if not _KIND.fullmatch(kind):
        return None
    if method in {"GET", "HEAD"}:
        return Need(kind, "r" if rest else "s")
    if method == "POST" and rest != ["_search"]:
        return Need(kind, "u" if rest else "c")
    return {"PUT": Need(kind, "u"), "PATCH": Need(kind, "u"), "DELETE": Need(kind, "d")}.get(
        method, Need(kind, "s") if method == "POST" else None
    )


def given(scopes: Iterable[str], need: Need) -> bool:
    """Tell whether one of these scopes gives what is needed."""
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        if match and match[1] in {"*", need.kind} and need.letter in _WORDS.get(match[2], match[2]):
            return True
    return False
