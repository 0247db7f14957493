"""The sending side of MLLP: one message, then its answer."""

import socket
from types import TracebackType
from typing import Self

from integration.hl7v2.framing import Frame, Framer, frame

_MAX_ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024


class MllpClient:
    """A connection to an MLLP listener; a context manager."""

    def __init__(self, host: str, port: int, timeout_s: float = 30.0) -> None:
        """Connect.

        Args:
            host: name or address.
            port: of the listener.
            timeout_s: for the connection, and for each step of an exchange.

        Raises:
            OSError: no connection.
        """
        self._socket = socket.create_connection((host, port), timeout_s)
        self._framer = Framer(_MAX_ANSWER_BYTES)

    def exchange(self, payload: bytes) -> bytes:
        """Send a message and return what came back.

        Raises:
            OSError: the connection broke, or nothing came in time. An answer may then still come,
                so the connection is of no further use.
        """
        self._socket.sendall(frame(payload))
        while data := self._socket.recv(_READ_BYTES):
            for received in self._framer.feed(data):
                if isinstance(received, Frame):
                    return received.payload
        raise ConnectionError("the listener closed the connection without an answer")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
