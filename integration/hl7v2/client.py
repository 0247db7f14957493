"""The sending side of MLLP: one message, then its answer."""

import socket
from ssl import SSLContext
from types import TracebackType
from typing import Self

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
            timeout_s: for the connection, and for each step of an exchange.
            tls: as `integration.security.tls.client_context` makes it; None: plain text.

        Raises:
            OSError: no connection, or none that is secure.
        """
        self._socket = socket.create_connection((host, port), timeout_s)
        if tls is not None:
            try:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
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
