"""What stands before the tests' broker, which has neither: TLS with client certificates, and SASL.

Frames of SASL (Kafka protocol, SaslHandshake 1 and SaslAuthenticate 2) are answered here, SCRAM as
RFC 5802, 3 and 5 say; all others are the real broker's and go to it untouched.
"""

import base64
import hashlib
import hmac
import select
import socket
import socketserver
import ssl
import struct
import threading
from contextlib import contextmanager

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
UNSUPPORTED_MECHANISM, AUTHENTICATION_FAILED = 33, 58
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
MECHANISMS = ("PLAIN", *HASHES)
SALT, ROUNDS, NONCE = b"salt of the edge", 4096, b"theedge"


class Edge(socketserver.ThreadingTCPServer):
    """Listens on a port that the broker advertises.

    `context`: of TLS, or None; `users`: name -> password, or None: no SASL. `used` are the
    mechanisms that somebody got in by.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port, broker_port, context=None, users=None, mechanisms=MECHANISMS):
        self.broker_port, self.context, self.users, self.used = broker_port, context, users, set()
        self.mechanisms = mechanisms
        super().__init__(("127.0.0.1", port), Connection)


class Connection(socketserver.BaseRequestHandler):
    """One client's."""

    def handle(self):
        client = self.request
        try:
            if self.server.context is not None:
                client = self.server.context.wrap_socket(client, server_side=True)
            with client, socket.create_connection(("127.0.0.1", self.server.broker_port)) as broker:
                if self.server.users is None or self.let_in(client, broker):
                    pump(client, broker)
        except OSError:  # who does not get in hangs up; so does everybody in the end
            return

    def let_in(self, client, broker):
        exchange = None
        while True:
            frame = read_frame(client)
            key, _, correlation, name = struct.unpack(">hhih", frame[:10])
            body = frame[10 + max(name, 0) :]
            if key == API_VERSIONS:
                send_frame(broker, frame)
                send_frame(client, read_frame(broker))
            elif key == SASL_HANDSHAKE:
                mechanism = body[2:].decode()
                known = self.server.mechanisms
                exchange = exchange_by(mechanism, self.server.users) if mechanism in known else None
                error = UNSUPPORTED_MECHANISM if exchange is None else 0
                names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in known)
                send_frame(client, struct.pack(">ihi", correlation, error, len(known)) + names)
                if error:
                    client.recv(1)
                    return False
            elif key == SASL_AUTHENTICATE and exchange is not None:
                answer = exchange(compact_bytes(body[1:]))  # after the tags of the header
                failed = answer is None
                error = AUTHENTICATION_FAILED if failed else 0
                told = compact(b"no such name or password" if failed else None)
                told += compact(answer or b"") + bytes(8) + b"\0"
                send_frame(client, struct.pack(">ibh", correlation, 0, error) + told)
                if failed:
                    client.recv(1)  # Kafka too lets the client read it before it hangs up
                    return False
                if exchange.done:
                    self.server.used.add(mechanism)
                    return True
            else:
                return False


def exchange_by(mechanism, users):
    return Plain(users) if mechanism == "PLAIN" else Scram(users, HASHES[mechanism])


class Plain:
    """RFC 4616."""

    done = True

    def __init__(self, users):
        self.users = users

    def __call__(self, token):
        _, name, password = token.decode().split("\0")
        return b"" if self.users.get(name) == password else None


class Scram:
    """The server's side of RFC 5802."""

    done = False

    def __init__(self, users, digest):
        self.users, self.digest, self.told = users, digest, b""

    def hmac(self, key, data):
        return hmac.digest(key, data, self.digest)

    def __call__(self, token):
        if not self.told:
            first = token.removeprefix(b"n,,")
            name, nonce = (part[2:] for part in first.split(b","))
            self.password = self.users.get(name.decode(), "").encode()
            salt = base64.b64encode(SALT)
            answer = b"r=%s%s,s=%s,i=%d" % (nonce, NONCE, salt, ROUNDS)
            self.told = first + b"," + answer
            return answer
        without_proof, _, proof = token.partition(b",p=")
        told = self.told + b"," + without_proof
        salted = hashlib.pbkdf2_hmac(self.digest, self.password, SALT, ROUNDS)
        key = self.hmac(salted, b"Client Key")
        signature = self.hmac(hashlib.new(self.digest, key).digest(), told)
        shown = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if not self.password or shown != key:
            return None
        self.done = True
        return b"v=" + base64.b64encode(self.hmac(self.hmac(salted, b"Server Key"), told))


def compact_bytes(data):
    """Read COMPACT_BYTES shorter than 2^14: one more than their length, in 7 bits a byte."""
    size, at = data[0], 1
    if size >= 128:
        size, at = (size & 127) + (data[1] << 7), 2
    return data[at : at + size - 1]


def compact(data):
    """COMPACT_NULLABLE_STRING or COMPACT_BYTES, shorter than 127."""
    return b"\0" if data is None else bytes([len(data) + 1]) + data


def read_frame(peer):
    (size,) = struct.unpack(">i", exactly(peer, 4))
    return exactly(peer, size)


def send_frame(peer, frame):
    peer.sendall(struct.pack(">i", len(frame)) + frame)


def exactly(peer, size):
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def pump(client, broker):
    other = {client: broker, broker: client}
    while True:
        held = isinstance(client, ssl.SSLSocket) and client.pending()
        for one in [client] if held else select.select([client, broker], [], [])[0]:
            data = one.recv(2**16)
            if not data:
                return
            other[one].sendall(data)


@contextmanager
def edge_before(broker_port, port, **options):
    """Run an edge."""
    with Edge(port, broker_port, **options) as edge:
        thread = threading.Thread(target=edge.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield edge
        finally:
            edge.shutdown()
            thread.join()
