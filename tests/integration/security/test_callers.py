"""Tokens signed here, and a real server that is asked about others."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from integration.errors import ConfigError, TryLater
from integration.fhir.settings import HttpSettings, IntrospectionSettings, JwtSettings
from integration.security.callers import (
    Caller,
    Callers,
    IntrospectedTokens,
    SignedTokens,
    StaticToken,
    callers_of,
)

ISSUER, AUDIENCE = "https://auth.example.org", "https://hisbundle.example.org/fhir"
RSA, OTHER_RSA = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC = ec.generate_private_key(ec.SECP384R1())


def public(key, kid, algorithm):
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return made | {"kid": kid, "use": "sig"}


JWKS = {"keys": [public(RSA, "r", "RS384"), public(EC, "e", "ES384"), {"kty": "oct", "k": "eA"}]}


def token(key=RSA, algorithm="RS384", kid="r", **changes):
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": time.time() + 300,
        "sub": "cart-7",
        "scope": "system/Observation.c openid",
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, {"kid": kid} if kid else None)


@pytest.fixture
def jwks_file(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_bytes(orjson.dumps(JWKS))
    return file


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@contextmanager
def answering(answer):
    """A server; `answer` gets a request's path, headers and body and returns status and JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, told = answer(self.path, self.headers, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(orjson.dumps(told))

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class TestSigned:
    @pytest.fixture
    def authority(self, jwks_file):
        return SignedTokens(ISSUER, AUDIENCE, str(jwks_file))

    @pytest.mark.parametrize(
        "shown",
        [
            token(),
            token(EC, "ES384", "e"),
            token(algorithm="PS256"),
            token(kid=None),
            token(aud=["x", AUDIENCE]),
            token(scope=None, scp=["system/Observation.c", "openid"]),
            token(sub=None, client_id="cart-7"),
        ],
    )
    def test_valid(self, authority, shown):
        known = authority.caller(shown)
        assert known == Caller("cart-7", frozenset({"system/Observation.c", "openid"}))

    @pytest.mark.parametrize(
        "shown",
        [
            token(exp=time.time() - 60),
            token(exp=None),
            token(nbf=time.time() + 300),
            token(iss="https://other.example.org"),
            token(iss=None),
            token(aud="https://other.example.org"),
            token(aud=None),
            token(OTHER_RSA),
            token(kid="nobody"),
            token(kid="e"),
            token(algorithm="HS256", key="x" * 64),
            token(algorithm="none", key=None),
            token()[:-4],
            "opaque",
            "",
        ],
    )
    def test_invalid(self, authority, shown):
        assert authority.caller(shown) is None

    @pytest.mark.parametrize("content", [b"", b"[]", b'{"keys": []}', b'{"keys": [1]}'])
    def test_a_file_without_keys(self, tmp_path, content):
        (tmp_path / "jwks.json").write_bytes(content)
        with pytest.raises(ConfigError, match=r"jwks\.json"):
            SignedTokens(ISSUER, AUDIENCE, str(tmp_path / "jwks.json"))

    def test_keys_are_fetched_again_for_a_new_one_but_not_at_a_forgers_pace(self):
        asked, keys, clock = [], {"keys": []}, Clock()

        def answer(*_):
            asked.append(1)
            return 200, keys

        with answering(answer) as url:
            authority = SignedTokens(ISSUER, AUDIENCE, url, clock)
            for _ in range(3):
                assert authority.caller(token()) is None
            assert len(asked) == 1
            keys = JWKS
            clock.now += 31
            assert authority.caller(token())
            assert authority.caller(token())
            assert len(asked) == 2
            clock.now += 601
        assert authority.caller(token())  # the issuer is away, its keys are known


class TestIntrospected:
    @contextmanager
    def authority(self, told, status=200, cache_s=30.0):
        self.asked = []

        def answer(_, headers, body):
            self.asked.append((headers["Authorization"], parse_qs(body.decode())["token"]))
            return status, told

        with answering(answer) as url:
            self.clock = Clock()
            yield IntrospectedTokens(url, "me", SecretStr("secret"), cache_s, self.clock)

    def test_active_and_remembered(self):
        told = {"active": True, "client_id": "cart", "scope": "system/*.read"}
        with self.authority(told) as authority:
            for _ in range(3):
                assert authority.caller("t") == Caller("cart", frozenset({"system/*.read"}))
            assert self.asked == [("Basic bWU6c2VjcmV0", ["t"])]
            self.clock.now += 31
            authority.caller("t")
            authority.caller("u")
        assert len(self.asked) == 3

    def test_not_longer_than_it_lives(self):
        with self.authority({"active": True, "exp": time.time() + 5}) as authority:
            authority.caller("t")
            self.clock.now += 6
            authority.caller("t")
        assert len(self.asked) == 2

    @pytest.mark.parametrize("told", [{"active": False}, {"active": "true"}, {}])
    def test_inactive(self, told):
        with self.authority(told) as authority:
            assert authority.caller("t") is None
            assert authority.caller("t") is None
        assert len(self.asked) == 1

    @pytest.mark.parametrize(("told", "status"), [({"active": True}, 500), ([], 200)])
    def test_no_answer(self, told, status):
        with self.authority(told, status) as authority, pytest.raises(TryLater) as caught:
            authority.caller("t")
        assert caught.value.reason == "authority-unreachable"
        with pytest.raises(TryLater):
            authority.caller("t")


class TestCallers:
    def test_any_that_knows_it(self, jwks_file):
        callers = Callers(
            StaticToken(SecretStr("known-to-all-of-us")),
            SignedTokens(ISSUER, AUDIENCE, str(jwks_file)),
        )
        assert callers.caller("Bearer known-to-all-of-us") == Caller("bearer", None)
        assert callers.caller(f"bearer  {token()} ").name == "cart-7"
        for wrong in ("", "Bearer", "Bearer \u00e9", "Basic known-to-all-of-us", "Bearer x"):
            assert callers.caller(wrong) is None
        assert callers.caller("Bearer " + "x" * 20_000) is None


def test_callers_of_the_settings(jwks_file):
    assert callers_of(HttpSettings()) is None
    jwt_settings = JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks=str(jwks_file))
    known = callers_of(HttpSettings(token="a-token-of-some-length", jwt=jwt_settings))
    assert known.caller("Bearer a-token-of-some-length") == Caller("bearer")
    assert known.caller(f"Bearer {token()}").name == "cart-7"
    assert known.caller("Bearer nonsense") is None
    with answering(lambda *_: (200, {"active": True, "client_id": "ehr"})) as url:
        asked = IntrospectionSettings(url=url, client_id="h", client_secret="geheim")
        assert callers_of(HttpSettings(introspection=asked)).caller("Bearer x").name == "ehr"
    broken = JwtSettings(issuer=ISSUER, audience=AUDIENCE, jwks="/nowhere")
    with pytest.raises(ConfigError, match="jwks-unusable"):
        callers_of(HttpSettings(jwt=broken))


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("roles", {"roles": ["operator", "offline_access"]}),
        ("roles", {"roles": "operator"}),
        (
            "resource_access.hisbundle.roles",
            {"resource_access": {"hisbundle": {"roles": ["operator"]}}},
        ),
    ],
)
def test_roles_stand_beside_the_scopes(jwks_file, claim, claims):
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": str(jwks_file)}
    callers = callers_of(HttpSettings(jwt=JwtSettings(**settings, roles_claim=claim)))
    both = {"system/Observation.c", "openid", "system/*.crus"}
    assert callers.caller(f"Bearer {token(**claims)}").scopes == both
    assert callers.caller(f"Bearer {token()}").scopes == both - {"system/*.crus"}
    # An issuer's admins are not ours, unless the settings say that its roles count.
    unasked = callers_of(HttpSettings(jwt=JwtSettings(**settings)))
    assert unasked.caller(f"Bearer {token(**claims)}").scopes == both - {"system/*.crus"}
    told = {"active": True, "client_id": "ehr"} | claims
    with answering(lambda *_: (200, told)) as url:
        asked = {"url": url, "client_id": "h", "client_secret": "geheim", "roles_claim": claim}
        opaque = callers_of(HttpSettings(introspection=IntrospectionSettings(**asked)))
        assert opaque.caller("Bearer x").scopes == {"system/*.crus"}


@pytest.mark.parametrize("roles", [7, {"admin": True}, [["admin"]], None])
def test_roles_of_another_shape_give_nothing(jwks_file, roles):
    authority = SignedTokens(ISSUER, AUDIENCE, str(jwks_file), roles="roles")
    assert authority.caller(token(roles=roles, scope="")).scopes == frozenset()


def test_a_token_that_names_somebody():
    cart = Caller("cart-7", frozenset())
    assert (
        StaticToken(SecretStr("a-token-of-some-length"), cart).caller("a-token-of-some-length")
        == cart
    )
