"""Sends a report as ORU^R01 and tells what became of it.

Each report has a connection of its own, which is dropped after its answer or without one: an
answer that comes late can never be taken for the answer to another message.

| answer                                      | raised   | reason                       |
|---------------------------------------------|----------|------------------------------|
| AA or CA for our control id                 | -        | -                            |
| no connection, broken, bad certificate      | TryLater | `destination-unreachable`    |
| a connection, but nothing in time           | TryLater | `destination-timeout`        |
| CE: it could not be kept there              | TryLater | `destination-busy`           |
| unreadable, or for another control id       | TryLater | `destination-answer-invalid` |
| AE, AR, CR                                  | Refused  | `destination-refused`        |
"""

import re
from collections.abc import Callable

from integration.errors import Refused, TryLater
from integration.fhir.codes import Json
from integration.hl7v2.ack import Acknowledgement, read_acknowledgement
from integration.hl7v2.client import MllpClient
from integration.hl7v2.report import Endpoints, encode_report

_ACCEPTED, _BUSY, _REFUSED = {"AA", "CA"}, {"CE"}, {"AE", "AR", "CR"}
# An answer's sentence may quote the patient; a reason code or an error number cannot.
_CODE = re.compile(r"[A-Za-z0-9-]{1,40}")


class OruDestination:
    """One receiver of reports as HL7 v2; threads may share it."""

    def __init__(self, connect: Callable[[], MllpClient], endpoints: Endpoints) -> None:
        self._connect = connect
        self._endpoints = endpoints

    def send(self, bundle: Json) -> str:
        """Send a report and return the answer in short, without patient data.

        Raises:
            TryLater: see the table above.
            Refused: see the table above.
        """
        message = encode_report(bundle, self._endpoints)
        answer = self._exchange(message.raw)
        if answer.control_id != message.control_id:
            raise TryLater("destination-answer-invalid", "the answer is to another message")
        if answer.code in _ACCEPTED:
            return f"{answer.code} {message.control_id}"
        if answer.code in _REFUSED:
            raise Refused("destination-refused", _told(answer))
        if answer.code in _BUSY:
            raise TryLater("destination-busy", _told(answer))
        raise TryLater("destination-answer-invalid", "the answer has no known code")

    def _exchange(self, raw: bytes) -> Acknowledgement:
        try:
            client = self._connect()
        except OSError as error:
            raise _unreachable(error) from None
        try:
            with client:
                return read_acknowledgement(client.exchange(raw))
        except TimeoutError:
            raise TryLater("destination-timeout", "no answer in time") from None
        except OSError as error:
            raise _unreachable(error) from None
        except Refused:
            raise TryLater("destination-answer-invalid", "the answer cannot be read") from None


def _unreachable(error: OSError) -> TryLater:
    return TryLater("destination-unreachable", type(error).__name__)


def _told(answer: Acknowledgement) -> str:
    """Return the answer's code and the first word of each of its texts that is only a code."""
    firsts = [text.split(":")[0].strip() for text in answer.texts]
    known = [word for word in firsts if _CODE.fullmatch(word)]
    return " ".join([answer.code, *known[:3]])
