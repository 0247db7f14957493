"""Bytes on their way to disk: zlib where it pays, and a limit on the way back."""

import zlib

from isal import isal_zlib  # zlib's format in a quarter of its time

from db.errors import Corrupt

MIN_SIZE = 200  # shorter ones hardly shrink: most acknowledgements, ordinary traffic's few segments
MAX_SIZE = 2**28  # the largest message the settings allow
_LEVEL = 1  # of 0 to 3; 2 saves 1 % of a message and nothing of a waveform

_PLAIN, _ZLIB = b"\x00", b"\x01"


def shrink(data: bytes) -> bytes:
    """Return `data` behind one byte that says how it is kept."""
    if len(data) >= MIN_SIZE:
        packed = isal_zlib.compress(data, _LEVEL)
        if len(packed) < len(data):
            return _ZLIB + packed
    return _PLAIN + data


def expand(blob: bytes, max_size: int = MAX_SIZE) -> bytes:
    """Inverse of shrink.

    Raises:
        Corrupt: `stored-bytes-corrupt`: not what shrink returned, or more than `max_size` bytes.
    """
    kind, body = blob[:1], blob[1:]
    if kind == _ZLIB:
        data = _inflate(body, max_size)
    elif kind == _PLAIN:
        data = body
    else:
        raise Corrupt("stored-bytes-corrupt", "unknown first byte")
    if len(data) > max_size:
        raise Corrupt("stored-bytes-corrupt", f"more than {max_size} bytes")
    return data


def _inflate(body: bytes, max_size: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, max_size + 1)
    except zlib.error as error:
        raise Corrupt("stored-bytes-corrupt", "zlib cannot read them") from error
    if len(data) <= max_size and not inflater.eof:
        raise Corrupt("stored-bytes-corrupt", "their end is missing")
    return data
