"""Which acknowledgements a message gets: original or enhanced mode (HL7 v2.5.1, 2.9.2, 2.9.3).

Original: one answer, AA, AE or AR, once the message is stored and understood.

Enhanced, when MSH-15 or MSH-16 says something: an accept acknowledgement (CA: stored; CE, CR: not)
as MSH-15 asks, then an application acknowledgement (AA, AE, AR) as MSH-16 asks. Both leave after
the commit, one behind the other on the same connection. A message whose content is refused is
stored with its reason, so it gets CA where the sender also wants to hear AR; where no application
acknowledgement is wanted, the refusal is told as CR, for nobody would hear of it otherwise.
"""

from enum import StrEnum

from integration.hl7v2.ack import AckCode
from integration.hl7v2.framing import CR, FS, VT
from integration.hl7v2.header import Header

# Several answers as one payload that frames itself apart again.
BETWEEN_ANSWERS = bytes((FS, CR, VT))
_ALWAYS, _NEVER, _ON_ERROR, _ON_SUCCESS = "AL", "NE", "ER", "SU"  # table 0155
_ACCEPT: dict[AckCode, AckCode] = {"AA": "CA", "AE": "CE", "AR": "CR"}


class AckMode(StrEnum):
    """How a sender wants its answers."""

    AUTO = "auto"  # as MSH-15 and MSH-16 of each message say
    ORIGINAL = "original"  # whatever they say
    ENHANCED = "enhanced"  # empty ones mean: always CA, never AA


def answers(
    header: Header | None, outcome: AckCode, mode: AckMode = AckMode.AUTO, *, stored: bool = True
) -> tuple[AckCode, ...]:
    """Return the codes to answer with, in their order; none when the sender wants none.

    Args:
        header: of the message, or None when it has none that can be read.
        outcome: AA, AE or AR: what original mode says.
        mode: of the sender.
        stored: whether the message is kept; when it is not, only the accept level can speak.
    """
    accept, application = _wanted(header, mode)
    if accept == application == "":
        return (outcome,)
    tells = stored and _asked(application or _NEVER, success=outcome == "AA")
    first: AckCode = "CA" if tells else _ACCEPT[outcome]
    asked = _asked(accept or _ALWAYS, success=first == "CA")
    return (*((first,) if asked else ()), *((outcome,) if tells else ()))


def _wanted(header: Header | None, mode: AckMode) -> tuple[str, str]:
    """Return MSH-15 and MSH-16 as they count; both empty: original mode."""
    if header is None or mode is AckMode.ORIGINAL:
        return "", ""
    accept, application = header.accept_ack.upper(), header.application_ack.upper()
    if mode is AckMode.ENHANCED and not accept:
        accept = _ALWAYS
    return accept, application


def _asked(condition: str, *, success: bool) -> bool:
    """Tell whether table 0155 asks for an answer; what it does not list asks for one."""
    if condition == _NEVER:
        return False
    return {_ON_ERROR: not success, _ON_SUCCESS: success}.get(condition, True)
