"""A FHIR server that only takes reports and counts them, for measuring and nothing else."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import orjson


class FhirReceiver:
    """Takes transaction Bundles on a free loopback port; a context manager.

    Attributes:
        posts: identifier of the report -> how often it was posted.
        order: identifiers in the order in which they were created.
        status: what is answered instead, while it is set.
    """

    def __init__(self) -> None:
        self.posts: Counter[str] = Counter()
        self.order: list[str] = []
        self.status: int | None = None
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.receiver = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self._server.server_port}/fhir"

    def take(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Create what is not there yet, by the identifier of the report."""
        resources = [entry["resource"] for entry in bundle["entry"]]
        report = next(r for r in resources if r["resourceType"] == "DiagnosticReport")
        identifier = report["identifier"][0]["value"]
        with self._lock:
            self.posts[identifier] += 1
            new = self.posts[identifier] == 1
            if new:
                self.order.append(identifier)
        status = "201 Created" if new else "200 OK"
        entries = [{"response": {"status": status}} for _ in resources]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    receiver: FhirReceiver
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that was killed is what is measured."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are written one after the other
    server: _Server

    def do_POST(self) -> None:
        """Answer a transaction; a resource by itself, a Device, is only said to be there."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver = self.server.receiver
        answer, status = b"", receiver.status or 200
        if self.path == "/fhir" and receiver.status is None:
            answer = orjson.dumps(receiver.take(orjson.loads(body)))
        self.send_response(status)
        self.send_header("Location", f"{self.path}/1")
        self.send_header("Content-Type", "application/fhir+json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
