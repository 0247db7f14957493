"""Leads as files name them: one of the twelve, certainly another channel, or a contradiction."""

from integration.errors import Refused
from integration.hl7v2.leads import OTHER, lead_of
from model.ecg import canonical_lead
from model.errors import EcgError


def lead_by_name(name: str) -> str | None:
    """Return the standard lead of that name, or None for another channel."""
    try:
        return canonical_lead(name)
    except EcgError:
        return None


def lead_by_code(code: str, name: str = "", system: str = "") -> str | None:
    """Return the standard lead that code and name agree on, or None for another channel.

    Args:
        code: of the MDC or SCP-ECG tables (ISO/IEEE 11073-10102), number or mnemonic.
        name: for people; "" where there is none.
        system: whose code it is.

    Raises:
        EcgError: `lead-mismatch`.
    """
    try:
        lead = lead_of([code, name, system], ("", 1, 0))
    except Refused as refused:
        if refused.reason == "lead-unknown":  # V3R and other leads outside the twelve
            return None
        raise EcgError(refused.reason, refused.detail) from None
    return None if lead == OTHER else lead
