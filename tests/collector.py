"""A collector of OpenTelemetry's traces, as far as its HTTP goes."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        """Keep the test's output clean."""


@contextmanager
def running_collector(status=200):
    """Run one on a free loopback port; `got` has the path and body of each request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.got, server.status = [], status
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
