"""What a clinician makes of a report, as frozen values.

A report is `preliminary` until somebody has looked at it. What they decide makes a version of it,
and no version is ever changed.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class ReportStatus(StrEnum):
    """How far a report can be relied on (R4 DiagnosticReportStatus)."""

    PRELIMINARY = "preliminary"  # nobody has looked at it yet
    FINAL = "final"  # confirmed as it stands
    AMENDED = "amended"  # overridden by the first clinician who looked at it
    CORRECTED = "corrected"  # overridden after somebody had confirmed or overridden it
    ENTERED_IN_ERROR = "entered-in-error"  # rejected: not to be used


class Decision(StrEnum):
    """What a clinician says of a report."""

    CONFIRM = "confirm"
    OVERRIDE = "override"  # with a conclusion of their own
    REJECT = "reject"


@dataclass(frozen=True)
class Reviewer:
    """Who decided, in the sender's own terms; a reference, an identifier, or both.

    Attributes:
        reference: of a Practitioner or PractitionerRole, as the sender has it, or None.
        system: of the identifier, or None.
        value: of the identifier, or None.
        name: as it shall be printed, or None.
    """

    reference: str | None = None
    system: str | None = None
    value: str | None = None
    name: str | None = None

    @property
    def shown(self) -> str:
        """How they are named on a page."""
        return self.name or self.value or self.reference or ""

    @property
    def key(self) -> str:
        """How they are named in the audit log."""
        return self.reference or "|".join(filter(None, (self.system, self.value)))


@dataclass(frozen=True)
class Review:
    """One decision on a report.

    Attributes:
        decision: what was decided.
        reviewer: by whom.
        at: when, aware.
        text: the clinician's own conclusion, or why they reject the report; may be empty.
        codes: the clinician's own conclusion as CodeableConcepts.
    """

    decision: Decision
    reviewer: Reviewer
    at: datetime
    text: str = field(default="", repr=False)
    codes: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def repeats(self, other: "Review | None") -> bool:
        """Tell whether it says what another one has said, whenever that was."""
        return other is not None and self.to_json() | {"at": ""} == other.to_json() | {"at": ""}

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        own = self.reviewer
        return {
            "decision": self.decision.value,
            "reviewer": [own.reference, own.system, own.value, own.name],
            "at": self.at.isoformat(),
            "text": self.text,
            "codes": list(self.codes),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of to_json."""
        return cls(
            Decision(data["decision"]),
            Reviewer(*data["reviewer"]),
            datetime.fromisoformat(data["at"]),
            data["text"],
            tuple(data["codes"]),
        )


def status_after(decision: Decision, status: ReportStatus) -> ReportStatus | None:
    """Return the status that a decision gives a report; None where it cannot be decided so.

    What was withdrawn stays so, and what somebody has overridden is not confirmed as it was.
    """
    if status is ReportStatus.ENTERED_IN_ERROR:
        return status if decision is Decision.REJECT else None
    if decision is Decision.REJECT:
        return ReportStatus.ENTERED_IN_ERROR
    reviewed = status is not ReportStatus.PRELIMINARY
    if decision is Decision.OVERRIDE:
        return ReportStatus.CORRECTED if reviewed else ReportStatus.AMENDED
    return ReportStatus.FINAL if status in (ReportStatus.PRELIMINARY, ReportStatus.FINAL) else None
