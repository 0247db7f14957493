import gzip

import pytest
import zstandard

from integration.errors import Refused
from integration.kafka.unpacking import unpack

VALUE = b"an ECG" * 1000
# A gzip header carries the time: fixed, so that every process collects the same test names.
GZIP, ZSTD = gzip.compress(VALUE, mtime=0), zstandard.compress(VALUE)
UNSIZED = zstandard.ZstdCompressor(write_content_size=False).compress(VALUE)


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [(VALUE, ""), (VALUE, "identity"), (GZIP, "gzip"), (ZSTD, "zstd"), (UNSIZED, "zstd")],
)
def test_what_was_packed_comes_out(packed, encoding):
    assert unpack(packed, encoding, len(VALUE)) == VALUE


@pytest.mark.parametrize(
    ("packed", "encoding", "reason"),
    [
        (VALUE, "br", "compression-unsupported"),
        (VALUE, "gzip", "compression-malformed"),
        (VALUE, "zstd", "compression-malformed"),
        (GZIP, "zstd", "compression-malformed"),
        (ZSTD, "gzip", "compression-malformed"),
        (GZIP[:-9], "gzip", "compression-malformed"),
        (ZSTD[:-4], "zstd", "compression-malformed"),
        (UNSIZED[:-4], "zstd", "compression-malformed"),
        (GZIP + b"x", "gzip", "compression-malformed"),
        (ZSTD + ZSTD, "zstd", "compression-malformed"),
        (b"\x1f\x8b", "gzip", "compression-malformed"),
    ],
)
def test_what_is_not_what_it_says_is_refused(packed, encoding, reason):
    with pytest.raises(Refused) as caught:
        unpack(packed, encoding, 10**6)
    assert caught.value.reason == reason


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_not_unpacked(encoding):
    bomb = gzip.compress(bytes(2**26)) if encoding == "gzip" else zstandard.compress(bytes(2**26))
    with pytest.raises(Refused, match="message-too-large"):
        unpack(bomb, encoding, 2**16)
