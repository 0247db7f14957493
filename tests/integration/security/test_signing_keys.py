import stat
from datetime import UTC, datetime

import jwt
import pytest

from integration.errors import ConfigError
from integration.security.signing_keys import jwks, make_key, read_keys

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 28, 13, 0, tzinfo=UTC)


def test_a_key_is_a_file_of_its_owner_alone(tmp_path):
    folder = tmp_path / "keys"
    key = make_key(folder, "ES384", NOON)
    assert key.kid == "20261128T120000Z-ES384"
    file = folder / "20261128T120000Z-ES384.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in repr(key)


def test_the_newest_comes_first(tmp_path):
    assert read_keys(tmp_path) == ()
    make_key(tmp_path, "RS384", NOON)
    make_key(tmp_path, "ES384", LATER)
    (tmp_path / "notes.pem").write_text("not ours")
    assert [key.algorithm for key in read_keys(tmp_path)] == ["ES384", "RS384"]


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_what_is_published_verifies_what_is_signed_and_no_more(tmp_path, algorithm):
    key = make_key(tmp_path, algorithm, NOON)
    (published,) = jwks(tmp_path)["keys"]
    assert (published["kid"], published["alg"], published["use"]) == (key.kid, algorithm, "sig")
    assert not {"d", "p", "q", "dp", "dq", "qi", "key_ops"} & set(published)
    (read,) = read_keys(tmp_path)
    signed = jwt.encode({"iss": "us"}, read.private, algorithm)
    assert jwt.decode(signed, jwt.PyJWK(published), [algorithm]) == {"iss": "us"}


def test_keys_that_cannot_be_used_are_told(tmp_path):
    make_key(tmp_path, "ES384", NOON)
    with pytest.raises(ConfigError, match=r"keys-unusable: .*File exists"):
        make_key(tmp_path, "ES384", NOON)
    pem = (tmp_path / "20261128T120000Z-ES384.pem").read_bytes()
    other = tmp_path / "20261128T120000Z-RS384.pem"
    other.write_bytes(pem)
    with pytest.raises(ConfigError, match="not a key for RS384"):
        read_keys(tmp_path)
    other.write_text("broken")
    with pytest.raises(ConfigError, match="keys-unusable"):
        read_keys(tmp_path)
