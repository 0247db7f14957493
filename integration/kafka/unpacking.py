"""Values that their sender has packed, by the header `content-encoding`; bounded when unpacked.

The codecs of record batches are the client library's business and never seen here.
"""

import zlib

import zstandard

from integration.errors import Refused

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to ask for the header of gzip
_MAX_WINDOW = 2**27  # bytes of memory a frame may ask for; what zstd's own tools allow


def unpack(value: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return a value as it was before it was packed.

    Args:
        value: of the record.
        encoding: `gzip`, `zstd`, `identity` or "".
        max_bytes: more is refused before it takes memory.

    Raises:
        Refused: `compression-unsupported`, `compression-malformed`, `message-too-large`.
    """
    if encoding in ("", "identity"):
        return value
    try:
        if encoding == "gzip":
            unpacked = _gunzip(value, max_bytes)
        elif encoding == "zstd":
            unpacked = _unzstd(value, max_bytes)
        else:
            detail = "content-encoding is gzip, zstd or identity"
            raise Refused("compression-unsupported", detail)
    except (zlib.error, zstandard.ZstdError):
        raise Refused("compression-malformed", f"the value is no {encoding}") from None
    if len(unpacked) > max_bytes:
        raise Refused("message-too-large", "unpacked larger than kafka.max_record_bytes")
    return unpacked


def _gunzip(value: bytes, max_bytes: int) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    unpacked = stream.decompress(value, max_bytes + 1)
    if len(unpacked) <= max_bytes and (not stream.eof or stream.unused_data):
        raise Refused("compression-malformed", "the value ends within gzip, or goes on after it")
    return unpacked


def _unzstd(value: bytes, max_bytes: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    unpacked = bytes(decompressor.stream_reader(value).read(max_bytes + 1))
    if len(unpacked) <= max_bytes:
        # The reader says nothing of an end that is missing; what is known to be small can be
        # unpacked again by what does.
        stream = decompressor.decompressobj()
        stream.decompress(value)
        if not stream.eof or stream.unused_data:
            detail = "the value ends within zstd, or goes on after it"
            raise Refused("compression-malformed", detail)
    return unpacked
