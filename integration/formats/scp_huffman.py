"""Huffman coding of SCP-ECG samples: the default table and a record's own ones.

Source: EN 1064, 5.5 (section 2) and annex C (the default table). A prefix stands for a value, or
announces so many bits of the value itself, or switches to another table. Prefixes are written with
their first bit lowest.

A lead is decoded by numpy and one short loop: the length of the code that would begin at every bit
is looked up at once, so that only the chain from code to code is left to follow.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from model.errors import EcgError

DEFAULT_TABLE = 19_999  # instead of a number of tables
MAX_TABLES = 8
MAX_CODES = 1024  # in one table

_MAX_PREFIX_BITS = 16
_MAX_VALUE_BITS = 16
_MAX_CODE_BYTES = (_MAX_PREFIX_BITS + _MAX_VALUE_BITS) // 8
_CODE = struct.Struct("<BBBhI")  # bits of the prefix, of all, mode (0: switch), value, prefix
_DEFAULT_CODES = (
    (1, 1, 1, 0, 0),
    *(
        (steps + 2, steps + 2, 1, sign * steps, (1 << steps) - 1 + (sign < 0) * (2 << steps))
        for steps in range(1, 9)
        for sign in (1, -1)
    ),
    (10, 18, 1, 0, 0b01_1111_1111),
    (10, 26, 1, 0, 0b11_1111_1111),
)


@dataclass(frozen=True)
class Codebook:
    """What each window of 16 bits begins with in each table, `(n_tables, 65536)`.

    Attributes:
        prefix_bits: of the code; 0 where none begins.
        all_bits: of prefix and value together; 0 where none begins.
        value: of a code without bits of its own.
        next_table: position of the table that the code switches to, or -1.
        switches: whether any code does.
    """

    prefix_bits: NDArray[np.uint8] = field(repr=False)
    all_bits: NDArray[np.uint8] = field(repr=False)
    value: NDArray[np.int16] = field(repr=False)
    next_table: NDArray[np.int8] = field(repr=False)
    switches: bool


def read_codebook(content: bytes) -> Codebook:
    """Read the data of section 2.

    Raises:
        EcgError: `scp-malformed`, `waveform-unsupported` (longer prefixes than anybody uses).
        struct.error: cut short.
    """
    (n_tables,) = struct.unpack_from("<H", content)
    if n_tables == DEFAULT_TABLE:
        return default_codebook()
    if not 1 <= n_tables <= MAX_TABLES:
        raise EcgError("scp-malformed", f"{n_tables} Huffman tables")
    tables, position = [], 2
    for _ in range(n_tables):
        (n_codes,) = struct.unpack_from("<H", content, position)
        if not 1 <= n_codes <= MAX_CODES:
            raise EcgError("scp-malformed", f"{n_codes} codes in a Huffman table")
        starts = range(position + 2, position + 2 + n_codes * _CODE.size, _CODE.size)
        tables.append([_CODE.unpack_from(content, start) for start in starts])
        position = starts.stop
    return build_codebook(tables)


@cache
def default_codebook() -> Codebook:
    """Return the table of annex C."""
    return build_codebook([_DEFAULT_CODES])


def build_codebook(tables: Sequence[Sequence[tuple[int, ...]]]) -> Codebook:
    """Return tables as a codebook.

    Args:
        tables: of codes: bits of the prefix, bits in all, mode, value, prefix with its first bit
            lowest.

    Raises:
        EcgError: `scp-malformed`: one prefix begins another, or a switch leads nowhere;
            `waveform-unsupported`.
    """
    shape = len(tables), 1 << _MAX_PREFIX_BITS
    prefix_bits, all_bits = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    value, next_table = np.zeros(shape, np.int16), np.full(shape, -1, np.int8)
    for row, codes in enumerate(tables):
        for n_prefix, n_all, mode, meaning, prefix in codes:
            _check_code(n_prefix, n_all, mode, meaning, len(tables))
            windows = _windows_of(n_prefix, prefix)
            if prefix_bits[row, windows].any():
                raise EcgError("scp-malformed", "a Huffman code begins another")
            prefix_bits[row, windows], all_bits[row, windows] = n_prefix, n_all
            value[row, windows] = meaning
            next_table[row, windows] = meaning - 1 if mode == 0 else -1
    return Codebook(prefix_bits, all_bits, value, next_table, bool((next_table >= 0).any()))


def _check_code(prefix_bits: int, all_bits: int, mode: int, value: int, n_tables: int) -> None:
    if not 1 <= prefix_bits <= all_bits:
        raise EcgError("scp-malformed", "a Huffman code without bits")
    if prefix_bits > _MAX_PREFIX_BITS or all_bits - prefix_bits > _MAX_VALUE_BITS:
        raise EcgError("waveform-unsupported", "a Huffman code of too many bits")
    if mode == 0 and not 1 <= value <= n_tables:
        raise EcgError("scp-malformed", "a Huffman code switches to no table")


def _windows_of(prefix_bits: int, prefix: int) -> slice:
    """Return the windows that begin with a prefix."""
    first_bit_high = int(f"{prefix:032b}"[::-1][:prefix_bits], 2)
    free_bits = _MAX_PREFIX_BITS - prefix_bits
    return slice(first_bit_high << free_bits, (first_bit_high + 1) << free_bits)


def unpack(content: bytes, book: Codebook, n_values: int) -> NDArray[np.int64]:
    """Return the first values of a lead, `(n_values,)`.

    Raises:
        EcgError: `samples-malformed`: fewer values than that, or bits that begin no code.
    """
    if not book.switches:
        content = content[: n_values * _MAX_CODE_BYTES]
    windows = _windows(content)
    table_of, bit_of = _chain(windows, book, n_values)
    at = (table_of, windows[bit_of])
    own = _own_bits(content, bit_of, book.prefix_bits[at], book.all_bits[at])
    values = np.where(book.all_bits[at] > book.prefix_bits[at], own, book.value[at])
    values = values[book.next_table[at] < 0]
    if len(values) < n_values:
        raise EcgError("samples-malformed", "a lead holds fewer samples than announced")
    return values[:n_values].astype(np.int64)


def _windows(content: bytes) -> NDArray[np.uint16]:
    """Return the 16 bits that begin at every bit of the content; zeros follow its end."""
    first, second, third = (
        np.frombuffer(content + bytes(2), np.uint8)[i : len(content) + i].astype(np.uint32)
        for i in range(3)
    )
    three = (first << np.uint32(16)) | (second << np.uint32(8)) | third
    shifts = np.arange(8, 0, -1, dtype=np.uint32)
    return (three[:, None] >> shifts).astype(np.uint16).ravel()


def _chain(
    windows: NDArray[np.uint16], book: Codebook, n_values: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return table and bit at which each whole code begins, in their order."""
    n_bits = len(windows)
    # Behind the end no code begins: the chain comes to rest there, as it does on bits of no code.
    lengths = [row.take(windows).tobytes() + bytes(_MAX_CODE_BYTES * 8) for row in book.all_bits]
    if book.switches:
        tables, bits = _follow_switching(lengths, windows, book)
    else:
        bits = _follow(lengths[0], n_values)
        tables = np.zeros_like(bits)
    rest = bits >= n_bits
    inside = np.minimum(bits, max(n_bits - 1, 0))
    length = book.all_bits[tables, windows[inside]] if n_bits else np.zeros_like(bits)
    rest |= (length == 0) | (bits + length > n_bits)
    whole = int(np.argmax(rest)) if rest.any() else len(bits)
    return tables[:whole], bits[:whole]


def _follow(lengths: bytes, n_values: int) -> NDArray[np.int64]:
    bits: list[int] = []
    bit = 0
    for _ in range(n_values):
        bits.append(bit)
        bit += lengths[bit]
    return np.array(bits, np.int64)


def _follow_switching(
    lengths: list[bytes], windows: NDArray[np.uint16], book: Codebook
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    following = [row.take(windows).tolist() for row in book.next_table]
    states: list[tuple[int, int]] = []
    table = bit = 0
    while bit < len(windows) and lengths[table][bit]:
        states.append((table, bit))
        to_table = following[table][bit]
        bit += lengths[table][bit]
        table = table if to_table < 0 else to_table
    pairs = np.array(states, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _own_bits(
    content: bytes,
    bit_of: NDArray[np.int64],
    prefix_bits: NDArray[np.uint8],
    all_bits: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Return the values that follow their prefix in two's complement; 0 where none does."""
    padded = np.frombuffer(content + bytes(8), np.uint8).astype(np.int64)
    begins, n_bits = bit_of + prefix_bits, (all_bits - prefix_bits).astype(np.int64)
    byte = begins // 8
    three = (padded[byte] << 16) | (padded[byte + 1] << 8) | padded[byte + 2]
    raw = (three >> (24 - begins % 8 - n_bits)) & ((1 << n_bits) - 1)
    signed: NDArray[np.int64] = raw - ((raw >> np.maximum(n_bits - 1, 0)) << n_bits)
    return signed
