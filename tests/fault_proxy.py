"""A proxy before a FHIR server that does what networks and busy servers do."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import httpx


class FaultProxy:
    """Forwards; each transaction meets the next fault of `faults` first.

    A fault is a status, or (status, Retry-After), or "drop": the server gets it and commits, and
    its answer is lost, or a Barrier: it waits there for others. `posts` counts transactions.
    """

    def __init__(self, behind):
        self.faults, self.posts = [], 0
        self.behind = behind
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"to": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}/fhir"
        self._lock = threading.Lock()

    def fault(self):
        """Return what the next transaction meets."""
        with self._lock:
            self.posts += 1
            return self.faults.pop(0) if self.faults else None


class Handler(BaseHTTPRequestHandler):
    """Serves one connection of the proxy `to`."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        fault = self.to.fault() if self.path == urlsplit(self.to.url).path else None
        if isinstance(fault, threading.Barrier):
            fault.wait()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if isinstance(fault, int | tuple):
            status, *wait = fault if isinstance(fault, tuple) else (fault,)
            self.answer(status, {"Retry-After": str(wait[0])} if wait else {}, b"")
            return
        told = self.forwarded(body)
        if fault == "drop":
            self.close_connection = True
            return
        self.pass_on(told)

    def do_GET(self):
        self.pass_on(self.forwarded())

    def forwarded(self, body=None):
        headers = {k: v for k, v in self.headers.items() if k not in ("Host", "Connection")}
        url = self.to.behind + self.path.removeprefix(urlsplit(self.to.url).path)
        return httpx.request(
            self.command, url, content=body, headers=headers, trust_env=False, timeout=60
        )

    def pass_on(self, told):
        kept = ("Content-Type", "Location", "ETag")
        headers = {name: told.headers[name] for name in kept if name in told.headers}
        self.answer(told.status_code, headers, told.content)

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def fault_proxy(behind):
    """Run a proxy before the server with this base URL."""
    proxy = FaultProxy(behind)
    thread = threading.Thread(target=proxy.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()
