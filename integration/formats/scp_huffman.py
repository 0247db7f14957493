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
_END, _NO_CODE = -1, -2  # where the chain of codes stops
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

    prefix_bits: NDArray[np.int32] = field(repr=False)
    all_bits: NDArray[np.int32] = field(repr=False)
    value: NDArray[np.int32] = field(repr=False)
    next_table: NDArray[np.int32] = field(repr=False)
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
    prefix_bits, all_bits, value, next_table = np.zeros(
        (4, len(tables), 1 << _MAX_PREFIX_BITS), np.int32
    )
    next_table -= 1
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
    words = _words(content[: n_values * _MAX_CODE_BYTES] if not book.switches else content)
    windows = words >> np.uint32(32 - _MAX_PREFIX_BITS)
    states = _chain(windows, book, n_values)
    table_of, bit_of = np.divmod(states, max(len(words), 1))
    at = (table_of, windows[bit_of])
    own = _own_bits(words, bit_of, book.prefix_bits[at], book.all_bits[at])
    values = np.where(book.all_bits[at] > book.prefix_bits[at], own, book.value[at])
    if book.switches:
        values = values[book.next_table[at] < 0]
    if len(values) < n_values:
        raise EcgError("samples-malformed", "a lead holds fewer samples than announced")
    return values[:n_values].astype(np.int64)


def _words(content: bytes) -> NDArray[np.uint32]:
    """Return the 32 bits that begin at every bit of the content; zeros follow its end."""
    padded = np.frombuffer(content + bytes(4), np.uint8).astype(np.uint64)
    five = np.zeros(len(content), np.uint64)
    for i in range(5):
        five = (five << np.uint64(8)) | padded[i : len(content) + i]
    shifts = np.arange(8, 0, -1, dtype=np.uint64)
    return (five[:, None] >> shifts).astype(np.uint32).ravel()


def _chain(windows: NDArray[np.uint32], book: Codebook, n_values: int) -> NDArray[np.int64]:
    """Return the states (table times bits, plus bit) at which codes begin, in their order."""
    n_bits, n_tables = len(windows), len(book.all_bits)
    bits = book.all_bits.take(windows, axis=1)
    after = np.arange(n_bits, dtype=np.int32) + bits
    row = np.arange(n_tables, dtype=np.int32)[:, None]
    if book.switches:
        to_table = book.next_table.take(windows, axis=1)
        row = np.where(to_table < 0, row, to_table)
    state = row * np.int32(n_bits) + after
    state[after == n_bits] = _END
    state[(bits == 0) | (after > n_bits)] = _NO_CODE
    return _follow(state.ravel().tolist(), n_bits if book.switches else n_values)


def _follow(following: list[int], limit: int) -> NDArray[np.int64]:
    """Return the states from the first on, until the end, the limit or what is no code.

    What fills the last byte is none, or one that is cut short.
    """
    states: list[int] = []
    state = 0
    for _ in range(limit if following else 0):
        states.append(state)
        state = following[state]
        if state < 0:
            break
    if state == _NO_CODE:
        states.pop()
    return np.array(states, np.int64)


def _own_bits(
    words: NDArray[np.uint32],
    bit_of: NDArray[np.int64],
    prefix_bits: NDArray[np.int32],
    all_bits: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return the values that follow their prefix in two's complement; 0 where none does."""
    n_bits = (all_bits - prefix_bits).astype(np.int64)
    begins = np.minimum(bit_of + prefix_bits, len(words) - 1)
    raw = words[begins].astype(np.int64) >> (32 - n_bits)
    signed: NDArray[np.int64] = raw - ((raw >> np.maximum(n_bits - 1, 0)) << n_bits)
    return signed
