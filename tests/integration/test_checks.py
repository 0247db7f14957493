import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from db.migrate import upgrade
from integration.checks import Level, checks
from integration.config import Settings
from tests.databases import new_database


@pytest.fixture
def look(tmp_path, monkeypatch):
    """A function that returns name -> check with these settings; the database is made."""
    monkeypatch.chdir(tmp_path)
    new_database(tmp_path / "hisbundle.db")

    def run(**values):
        settings = Settings(data_dir=tmp_path, **values)
        return {check.name: check for check in checks(settings)}

    return run


@pytest.fixture
def scripted_metadata():
    """A function that runs a server which answers every GET with a body; gives its base URL."""

    @contextmanager
    def serve(body):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}/fhir"
            server.shutdown()
            thread.join()

    return serve


def certificate(folder, days):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path = folder / f"certificate{days}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    return path


def test_the_embedded_default_is_fit_but_sends_nowhere(look):
    found = look()
    assert {name: check.level for name, check in found.items() if check.level != Level.OK} == {
        "destinations": Level.WARNING,
        "port of the HL7 listener": found["port of the HL7 listener"].level,
        "port of the FHIR interface": found["port of the FHIR interface"].level,
    }
    assert "hashes agree" in found["models"].words
    assert "GiB of its disk are free" in found["room"].words


def test_a_database_that_is_behind_or_away(tmp_path, look, closed_port):
    found = look(database_url=f"sqlite:///{tmp_path / 'other.db'}")
    assert found["database"].level == Level.FAULT
    assert "hisbundle migrate" in found["database"].words
    found = look(database_url=f"postgresql://hisbundle@127.0.0.1:{closed_port}/none")
    assert found["database"].level == Level.FAULT


@pytest.mark.postgres
def test_a_server_of_its_own(look, fresh_postgres_url):
    upgrade(fresh_postgres_url)
    found = look(database_url=fresh_postgres_url)
    assert found["database"].level == Level.OK
    assert found["room"].level == Level.OK


def test_little_room(look):
    found = look(storage={"refuse_free_bytes": 2**60, "warn_free_bytes": 2**60})
    assert found["room"].level == Level.FAULT
    found = look(storage={"warn_free_bytes": 2**60})
    assert found["room"].level == Level.WARNING
    found = look(storage={"max_database_bytes": 1000})
    assert found["room"].level == Level.FAULT


@pytest.mark.parametrize(
    ("days", "level"), [(-1, Level.FAULT), (10, Level.WARNING), (100, Level.OK)]
)
def test_certificates_run_out(look, tmp_path, days, level):
    path = certificate(tmp_path, days)
    tls = {"certificate": path, "key": path, "client_ca": path}
    assert look(mllp={"tls": tls})["certificate mllp.tls"].level == level


def test_our_own_certificates_run_out_too(look, tmp_path):
    tls = {"certificate": certificate(tmp_path, 10)}
    found = look(destinations={"his": {"kind": "oru", "host": "127.0.0.1", "port": 1, "tls": tls}})
    assert found["certificate destinations.his.tls"].level == Level.WARNING


def test_a_certificate_that_is_none(look, tmp_path):
    path = tmp_path / "broken.pem"
    path.write_text("none")
    assert (
        look(mllp={"tls": {"certificate": path, "key": path, "client_ca": path}})[
            "certificate mllp.tls"
        ].level
        == Level.FAULT
    )


def test_what_cannot_be_reached_is_told(look, closed_port):
    port = closed_port
    found = look(
        broker_url=f"amqp://guest@127.0.0.1:{port}//",
        destinations={
            "ehr": {"kind": "fhir", "base_url": f"http://127.0.0.1:{port}/fhir"},
            "his": {"kind": "oru", "host": "127.0.0.1", "port": port},
        },
    )
    for name in ("broker", "destination ehr", "destination his"):
        assert found[name].level == Level.FAULT, name
    assert "destinations" not in found


def test_what_answers_is_told(look, fhir_server):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        found = look(
            mllp={"port": port},
            destinations={
                "ehr": {"kind": "fhir", "base_url": fhir_server},
                "his": {"kind": "oru", "host": "127.0.0.1", "port": port},
            },
        )
    assert found["port of the HL7 listener"].level == Level.OK
    assert found["destination ehr"].level == Level.OK
    assert found["destination his"].level == Level.OK


@pytest.mark.parametrize("style", ["transaction", "single", "report", "document"])
def test_a_style_that_a_server_does_not_tell_of_is_told(
    look, fhir_server, scripted_metadata, style
):
    ehr = {"kind": "fhir", "base_url": fhir_server, "style": style}
    assert look(destinations={"ehr": ehr})["destination ehr"].level == Level.OK
    for capabilities in (b"", b"[]", b'{"rest": [{"interaction": [], "resource": []}]}'):
        with scripted_metadata(capabilities) as url:
            found = look(destinations={"ehr": ehr | {"base_url": url}})
        assert found["destination ehr"].level == Level.WARNING
        assert f"style {style}" in found["destination ehr"].words


def test_a_token_that_is_not_given_is_told(look, fhir_server):
    ehr = {"kind": "fhir", "base_url": fhir_server, "smart": {"client_id": "hisbundle"}}
    found = look(destinations={"ehr": ehr})["destination ehr"]
    assert found.level == Level.FAULT
    assert "token-refused: no key of ours" in found.words


def test_a_wrong_model_and_loose_settings(look, tmp_path):
    found = look(model_path=tmp_path / "none", allow_unknown_senders=True)
    assert found["models"].level == Level.FAULT
    assert "allow_unknown_senders is on" in found["settings"].words
