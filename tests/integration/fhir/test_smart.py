"""Tokens of sekmet-fhir, which verifies our assertions, and of a server that says what we like."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import httpx
import jwt
import pytest

from integration.deadline import all_within
from integration.errors import Refused, TryLater
from integration.fhir.settings import SmartSettings
from integration.fhir.smart import SmartAuth
from integration.security.signing_keys import jwks, make_key
from tests.fhir_server import running_fhir_server
from tests.patience import PATIENCE_S
from tests.scripted_server import scripted_server

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
US = SmartSettings(client_id="hisbundle")


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_server_that_verifies_lets_us_in(tmp_path, algorithm):
    keys = tmp_path / "keys"
    make_key(keys, algorithm, NOON)
    client = {"client_id": "hisbundle", "jwks": jwks(keys)}
    with running_fhir_server(
        tmp_path, server_auth={"types": ["smart"], "smart_clients": [client]}
    ) as url:
        assert httpx.get(f"{url}/Patient", timeout=PATIENCE_S).status_code == 401
        auth = SmartAuth(url, US, keys)
        assert httpx.get(f"{url}/Patient", auth=auth, timeout=PATIENCE_S).status_code == 200
        # A key that the server has not heard of yet does not lock us out.
        make_key(keys, algorithm, NOON + timedelta(days=1))
        fresh = SmartAuth(url, US, keys)
        assert httpx.get(f"{url}/Patient", auth=fresh, timeout=PATIENCE_S).status_code == 200
        stranger = SmartAuth(url, SmartSettings(client_id="stranger"), keys)
        with pytest.raises(Refused, match="token-refused: status 401, invalid_client"):
            stranger.token()
        auth.close()
        fresh.close()
        stranger.close()


class Issuer:
    """A real server that gives tokens `token-1`, `token-2`, ... and takes the last one alone."""

    def __init__(self):
        self.forms, self.shown = [], []
        self.configuration = {}
        self.token_answer = (200, {"expires_in": 100})
        self.takes = None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/r4/.well-known/smart-configuration":
                    self.answer(200 if issuer.configuration else 404, issuer.configuration)
                    return
                issuer.shown.append(self.headers["Authorization"])
                known = issuer.takes in (None, self.headers["Authorization"])
                self.answer(200 if known else 401, {})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                issuer.forms.append({k: v[0] for k, v in parse_qs(body).items()})
                status, content = issuer.token_answer
                named = {"access_token": f"token-{len(issuer.forms)}"} if status == 200 else {}
                self.answer(status, named | content)

            def answer(self, status, content):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.root = f"http://127.0.0.1:{self.server.server_port}"
        self.configuration = {"token_endpoint": f"{self.root}/token"}


@pytest.fixture
def issuer():
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, args=(0.01,))
    thread.start()
    yield issuer
    issuer.server.shutdown()
    thread.join()
    issuer.server.server_close()


@pytest.fixture
def clock():
    class Clock:
        now = 1_800_000_000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def auth(issuer, tmp_path, clock):
    make_key(tmp_path, "ES384", NOON)
    auth = SmartAuth(f"{issuer.root}/r4/", US, tmp_path, clock=clock)
    yield auth
    auth.close()


def test_the_assertion_says_what_the_specification_asks(auth, issuer, tmp_path):
    assert auth.token() == "token-1"
    (form,) = issuer.forms
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "system/*.cruds"
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    header = jwt.get_unverified_header(form["client_assertion"])
    assert header == {"alg": "ES384", "kid": "20261128T120000Z-ES384", "typ": "JWT"}
    (key,) = jwks(tmp_path)["keys"]
    claims = jwt.decode(
        form["client_assertion"],
        jwt.PyJWK(key),
        ["ES384"],
        audience=f"{issuer.root}/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["iss"], claims["sub"]) == ("hisbundle", "hisbundle")
    assert claims["exp"] - claims["iat"] == 240
    assert claims["jti"]


def test_a_token_is_kept_and_renewed_before_it_ends(auth, issuer, clock):
    assert [auth.token(), auth.token()] == ["token-1", "token-1"]
    clock.now += 89
    assert auth.token() == "token-1"
    clock.now += 2
    assert auth.token() == "token-2"
    assertions = [
        jwt.decode(f["client_assertion"], options={"verify_signature": False}) for f in issuer.forms
    ]
    assert assertions[0]["jti"] != assertions[1]["jti"]


@pytest.mark.parametrize("told", [None, "x", 0, -1, True])
def test_a_life_that_is_not_told_is_five_minutes(auth, issuer, clock, told):
    issuer.token_answer = (200, {"expires_in": told})
    auth.token()
    clock.now += 269
    assert auth.token() == "token-1"
    clock.now += 2
    assert auth.token() == "token-2"


def test_a_refused_token_is_renewed_once(auth, issuer):
    issuer.takes = "Bearer token-2"
    assert httpx.get(f"{issuer.root}/r4/Patient", auth=auth, timeout=PATIENCE_S).status_code == 200
    issuer.takes = "Bearer never"
    assert httpx.get(f"{issuer.root}/r4/Patient", auth=auth, timeout=PATIENCE_S).status_code == 401
    assert issuer.shown == [f"Bearer token-{n}" for n in (1, 2, 2, 3)]


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ((503, {}), TryLater, "token-unavailable: status 503"),
        ((429, {}), TryLater, "token-unavailable: status 429"),
        ((400, {"error": "invalid_scope"}), Refused, "token-refused: status 400, invalid_scope"),
        ((400, {"error": "Jane Roe"}), Refused, "token-refused: status 400$"),
        ((200, {"access_token": None}), Refused, "token-refused: status 200"),
    ],
)
def test_what_the_issuer_answers_is_told(auth, issuer, answer, error, told):
    issuer.token_answer = answer
    with pytest.raises(error, match=told):
        auth.token()


@pytest.mark.parametrize(
    ("configuration", "told"),
    [
        ({}, "no smart-configuration: status 404"),
        ({"token_endpoint": 1}, "no smart-configuration: status 200"),
        ({"token_endpoint": "http://auth.example.org/token"}, "not https"),
        (
            {
                "token_endpoint": "http://127.0.0.1:1/",
                "token_endpoint_auth_signing_alg_values_supported": ["RS384"],
            },
            "no key of ours",
        ),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(auth, issuer, configuration, told):
    issuer.configuration = configuration
    with pytest.raises(Refused, match=told):
        auth.token()


@pytest.mark.parametrize(
    ("slow", "raised"), [("/token", TryLater), ("/r4/Patient", httpx.ReadTimeout)]
)
def test_a_token_and_what_it_is_for_have_one_deadline(tmp_path, slow, raised):
    def answer(path, _):
        time.sleep(3 if path == slow else 0)
        return 200, {}, {"access_token": "t"}

    make_key(tmp_path / "keys", "ES384", NOON)
    with scripted_server(answer) as url:
        there = SmartSettings(client_id="hisbundle", token_url=f"{url}/token")
        auth = SmartAuth(f"{url}/r4", there, tmp_path / "keys")
        with all_within(0.5), pytest.raises(raised):
            httpx.get(f"{url}/r4/Patient", auth=auth, timeout=PATIENCE_S)
        auth.close()


def test_an_issuer_that_is_away_is_asked_again(issuer, tmp_path, clock):
    make_key(tmp_path, "ES384", NOON)
    given = SmartSettings(client_id="hisbundle", token_url="http://127.0.0.1:1/token")
    auth = SmartAuth(issuer.root, given, tmp_path, clock=clock)
    with pytest.raises(TryLater, match="token-unavailable: ConnectError"):
        auth.token()
    auth.close()
