"""The sending side of MLLP: one message, then its answer."""

import socket
from ssl import SSLContext
from types import TracebackType
from typing import Self

from integration.deadline import all_within, connect_s, left_s
from integration.hl7v2.framing import Frame, Framer, frame

_MAX_ANSWER_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024


class MllpClient:
    """A connection to an MLLP listener; a context manager."""

    def __init__(
        self, host: str, port: int, timeout_s: float = 30.0, tls: SSLContext | None = None
    ) -> None:
        """Connect.

        Args:
            host: name or address.
            port: of the listener.
            timeout_s: for the connection, and for each exchange, as a whole.
            tls: as `integration.security.tls.client_context` makes it; None: plain text.

        Raises:
            OSError: no connection, or none that is secure.
        """
        self._timeout_s = timeout_s
        with all_within(timeout_s):
            self._socket = socket.create_connection((host, port), connect_s())
            if tls is not None:
                try:
                    self._socket = tls.wrap_socket(self._in_time(), server_hostname=host)
                except OSError:
                    self._socket.close()
                    raise
        self._framer = Framer(_MAX_ANSWER_BYTES)

    def exchange(self, payload: bytes) -> bytes:
        """Send a message and return what came back.

        Raises:
            OSError: the connection broke, or nothing came in time. An answer may then still come,
                so the connection is of no further use.
        """
        rest = memoryview(frame(payload))
        with all_within(self._timeout_s):
            while rest:
                rest = rest[self._in_time().send(rest) :]
            while data := self._in_time().recv(_READ_BYTES):
                for received in self._framer.feed(data):
                    if isinstance(received, Frame):
                        return received.payload
        raise ConnectionError("the listener closed the connection without an answer")

    def _in_time(self) -> socket.socket:
        """Return the socket; its next step ends in time, or with TimeoutError."""
        self._socket.settimeout(left_s())
        return self._socket

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
