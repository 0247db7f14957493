"""XLI, the compression of Philips Sierra XML: LZW over second differences.

Source: the description of the format by the sierra-ecg-tools project (C. Watford), checked against
files of versions 1.03 and 1.04. A chunk a lead: 4 bytes of its size, 2 bytes of a code that is 1,
2 bytes of a first difference, then codes of 10 bits, highest bit first, ended by 1023. They unpack
to the high bytes of all words, then the low bytes. The first two words are samples; each other one
tells, plus 64, by how much the sample after it falls short of the straight line through the two
before.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from model.errors import EcgError

_HEADER = struct.Struct("<IHh")  # size, code, first difference
_KNOWN_CODE = 1
_BIAS = 64
_BITS, _END = 10, 1023
_LITERALS = tuple(bytes((byte,)) for byte in range(256))


def unpack_leads(content: bytes, n_leads: int, n_samples: int) -> NDArray[np.int64]:
    """Return the samples of the first chunks, `(n_leads, n_samples)`.

    Args:
        content: the chunks, one after another.
        n_leads: as many chunks are read; carts write empty ones behind them.
        n_samples: as many samples are expected in each; no more is ever unpacked.

    Raises:
        EcgError: `samples-malformed`, `waveform-unsupported`.
    """
    leads = []
    for _ in range(n_leads):
        if len(content) < _HEADER.size:
            raise EcgError("samples-malformed", "fewer leads than announced")
        size, code, first = _HEADER.unpack_from(content)
        if code != _KNOWN_CODE:
            raise EcgError("waveform-unsupported", "another compression than XLI")
        chunk, content = content[_HEADER.size :][:size], content[_HEADER.size + size :]
        if len(chunk) < size:
            raise EcgError("samples-malformed", "a lead is cut short")
        leads.append(_samples(_inflate(chunk, 2 * n_samples), first))
    return np.stack(leads)


def _inflate(chunk: bytes, n_bytes: int) -> bytes:
    """Undo LZW; the table is never emptied, and full with its 1022nd entry."""
    table: list[bytes] = list(_LITERALS)
    parts: list[bytes] = []
    missing, previous = n_bytes, b""
    for code in _codes(chunk[: (n_bytes + 2) * _BITS // 8]):  # each code stands for a byte or more
        if code == _END or missing <= 0:
            break
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise EcgError("samples-malformed", "a code stands before its entry")
        if previous and len(table) < _END:
            table.append(previous + entry[:1])
        parts.append(entry)
        missing -= len(entry)
        previous = entry
    if missing:
        raise EcgError("samples-malformed", "not as many samples as announced")
    return b"".join(parts)


def _codes(chunk: bytes) -> list[int]:
    bits = np.unpackbits(np.frombuffer(chunk, np.uint8))
    whole = bits[: len(bits) - len(bits) % _BITS].reshape(-1, _BITS)
    weights = (1 << np.arange(_BITS)[::-1]).astype(np.uint16)
    codes: list[int] = (whole @ weights).tolist()
    return codes


def _samples(words: bytes, first: int) -> NDArray[np.int64]:
    high, low = np.frombuffer(words, np.uint8).reshape(2, -1).astype(np.uint16)
    stored = ((high << 8) | low).astype(np.int16).astype(np.int64)
    if len(stored) < 3:
        return stored
    # Second differences of the samples: minus what was told one word before.
    bends = -np.concatenate([[first], stored[2:-1] - _BIAS])
    slopes = np.cumsum(np.concatenate([[stored[1] - stored[0]], bends]))
    samples = np.concatenate([stored[:1], stored[0] + np.cumsum(slopes)])
    if np.abs(samples).max() >= 2**15:
        raise EcgError("samples-malformed", "a sample is beyond 16 bits")
    return samples
