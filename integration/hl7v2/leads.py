"""Which lead an identifier means, when code and name agree (ISO/IEEE 11073-10102, 5.10).

A lead's number n is the same in three tables: MDC_ECG_LEAD is 131072 + n, MDC_ECG_ELEC_POTL is
131328 + n, SCP-ECG (and DICOM's use of it) writes 5.6.3-9-n. Other numbers of the MDC tables are
other leads: 131137 is -aVR, 131103 to 131110 and 131183 to 131186 are derived; they are refused.
"""

import re

from integration.errors import Refused

_NUMBERS = {
    1: "I",
    2: "II",
    61: "III",
    62: "aVR",
    63: "aVL",
    64: "aVF",
    **{n + 2: f"V{n}" for n in range(1, 7)},
}
# Leads beyond the twelve that carts record beside them: known, and not ours.
_BEYOND = {
    9: "V7",
    **{n + 8: f"V{n}R" for n in range(2, 8)},
    66: "V8",
    67: "V9",
    68: "V8R",
    69: "V9R",
}
_LEADS = range(131072, 131328)
_POTENTIALS = range(131328, 131584)
_CONTEXT_FREE = 131072  # context-dependent codes 2:x are x above this

_NAMES = {lead.upper(): lead for lead in _NUMBERS.values()}
# How Romance languages write the limb leads ("derivacion"): D1 and DI are I.
_SYNONYMS = {"D1": "I", "D2": "II", "D3": "III", "DI": "I", "DII": "II", "DIII": "III"}
# No hyphen between the words: -aVR is not aVR.
_PLAIN = re.compile(
    r"(?:(?:ECG|EKG|LEAD|ABLEITUNG|DERIVATION|WAVEFORM)[\s_:]*)*"
    rf"({'|'.join([*_NAMES, *_SYNONYMS])})(?:[\s_:]+(?:LEAD|WAVEFORM|ECG))?"
)
_REFID = re.compile(r"MDC_ECG_(?:LEAD|ELEC_POTL)_(\w*)")

OTHER = "other"  # certainly none of the twelve


def lead_of(identifier: list[str], location: tuple[str, int, int]) -> str | None:
    """Return the lead that an identifier (CE or CWE: code, name, system, and these again) means.

    Returns:
        A canonical lead name; `OTHER` for what is certainly none of the twelve; or None where
        nothing is recognised.

    Raises:
        Refused: `lead-mismatch` where code and name, or the two triplets, contradict each other;
            `lead-unknown` where an ECG lead is meant that is not one of the twelve.
    """
    if _beyond_the_twelve(*[*identifier, "", ""][:2]):
        return OTHER
    code, name, system, code_2, name_2, system_2 = [*identifier, *[""] * 6][:6]
    meanings = {
        _triplet(code, name, system, location),
        _triplet(code_2, name_2, system_2, location),
    } - {None}
    if len(meanings) > 1:
        raise _mismatch(location)
    return next(iter(meanings), None)


def scalar_lead(identifier: list[str]) -> bool:
    """Tell whether an identifier is an MDC lead, good or bad: plain `I` may be anything."""
    code, name = [*identifier, "", ""][:2]
    number = _number(code)
    in_tables = number is not None and (number in _LEADS or number in _POTENTIALS)
    return in_tables or any(_REFID.fullmatch(text.upper()) for text in (code, name))


def _triplet(code: str, name: str, system: str, location: tuple[str, int, int]) -> str | None:
    by_code = _by_code(code, system, location)
    by_name = _by_name(name, location)
    if by_code is None:
        return by_name
    if by_code == OTHER and by_name is None:
        return OTHER
    if name and by_name != by_code:
        raise _mismatch(location)
    return by_code


def _by_code(code: str, system: str, location: tuple[str, int, int]) -> str | None:
    if scp := re.fullmatch(r"5\.6\.3-9-(\d{1,3})", code):
        return _numbered(int(scp[1]), location)
    number = _number(code)
    if number is None:
        return _by_name(code, location)
    if number in _LEADS or number in _POTENTIALS:
        return _numbered((number - _CONTEXT_FREE) % 256, location)
    return OTHER if number and system.upper() in ("MDC", "ISO11073") else None


def _by_name(name: str, location: tuple[str, int, int]) -> str | None:
    upper = name.upper()
    if refid := _REFID.fullmatch(upper):
        if refid[1] not in _NAMES:
            raise _unknown(location)
        return _NAMES[refid[1]]
    if upper.startswith("MDC_"):
        return OTHER
    plain = _PLAIN.fullmatch(upper)
    return None if plain is None else _SYNONYMS.get(plain[1]) or _NAMES[plain[1]]


def _number(code: str) -> int | None:
    if re.fullmatch(r"\d{1,9}", code, re.ASCII):
        return int(code)
    if dependent := re.fullmatch(r"2:(\d{1,5})", code, re.ASCII):
        return _CONTEXT_FREE + int(dependent[1])
    return None


def _beyond_the_twelve(code: str, name: str) -> bool:
    """Tell whether code and name agree on a lead such as V7 or V4R."""
    number = _number(code)
    if number is None or not (number in _LEADS or number in _POTENTIALS):
        return False
    lead = _BEYOND.get((number - _CONTEXT_FREE) % 256)
    return (
        lead is not None and re.sub(r"\W|MDC_ECG_(LEAD|ELEC_POTL)_|LEAD", "", name.upper()) == lead
    )


def _numbered(number: int, location: tuple[str, int, int]) -> str:
    if number not in _NUMBERS:
        raise _unknown(location)
    return _NUMBERS[number]


def _unknown(location: tuple[str, int, int]) -> Refused:
    return Refused("lead-unknown", "the code is no lead of the twelve", location)


def _mismatch(location: tuple[str, int, int]) -> Refused:
    return Refused("lead-mismatch", "code and name of the lead disagree", location)
