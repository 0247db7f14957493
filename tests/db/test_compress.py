import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.compress import MIN_SIZE, expand, shrink
from db.errors import Corrupt


@given(st.binary(max_size=2 * MIN_SIZE))
def test_what_is_shrunk_expands(data):
    assert expand(shrink(data)) == data


def test_long_and_regular_bytes_become_few():
    assert len(shrink(b"OBX|1|NA|" * 1000)) < 200


@pytest.mark.parametrize("data", [b"", b"A" * (MIN_SIZE - 1), os.urandom(1000)])
def test_short_or_random_bytes_grow_by_one(data):
    assert shrink(data) == b"\x00" + data


@pytest.mark.parametrize("data", [b"\0" * 1000, os.urandom(1000)])
def test_the_limit_is_exact(data):
    blob = shrink(data)
    assert expand(blob, 1000) == data
    with pytest.raises(Corrupt, match="more than 999 bytes"):
        expand(blob, 999)


def test_it_is_plain_zlib_in_both_directions():
    data = b"OBX|1|NA|" * 1000
    assert zlib.decompress(shrink(data)[1:]) == data
    assert expand(b"\x01" + zlib.compress(data)) == data


def test_a_bomb_stops_at_the_limit():
    bomb = b"\x01" + zlib.compress(bytes(50_000_000))
    with pytest.raises(Corrupt, match="more than 1000 bytes"):
        expand(bomb, 1000)


@pytest.mark.parametrize(
    ("blob", "detail"),
    [
        (b"", "unknown first byte"),
        (b"\x02abc", "unknown first byte"),
        (b"\x01not zlib", "zlib cannot read them"),
        (shrink(b"A" * 1000)[:-5], "their end is missing"),
    ],
)
def test_other_bytes_are_corrupt(blob, detail):
    with pytest.raises(Corrupt, match=detail) as caught:
        expand(blob)
    assert caught.value.reason == "stored-bytes-corrupt"
