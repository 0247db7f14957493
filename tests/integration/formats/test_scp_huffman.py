import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.formats.scp_huffman import (
    MAX_CODES,
    MAX_TABLES,
    build_codebook,
    default_codebook,
    read_codebook,
    unpack,
)
from model.errors import EcgError
from tests.integration.formats.encoders import packed_bits, scp_huffman

# Prefixes with their first bit lowest: 0 -> 5, 10 -> -5, 110 -> four bits of its own.
OWN = [(1, 1, 1, 5, 0b0), (2, 2, 1, -5, 0b01), (3, 7, 1, 0, 0b011)]


def section(*tables):
    packed = [
        struct.pack("<H", len(codes)) + b"".join(struct.pack("<BBBhI", *code) for code in codes)
        for codes in tables
    ]
    return struct.pack("<H", len(tables)) + b"".join(packed)


def reason(content):
    with pytest.raises(EcgError) as refused:
        read_codebook(content)
    return refused.value.reason


@given(st.lists(st.integers(-32768, 32767), max_size=60))
def test_the_default_table(values):
    content = scp_huffman(values)
    assert unpack(content, default_codebook(), len(values)).tolist() == values


def test_every_code_of_the_default_table():
    values = [*range(-10, 11), -128, 127, -129, 128, -32768, 32767]
    assert unpack(scp_huffman(values), default_codebook(), len(values)).tolist() == values
    assert read_codebook(struct.pack("<H", 19_999)) is default_codebook()


def test_a_table_of_the_records_own():
    book = read_codebook(section(OWN))
    content = packed_bits("0" + "10" + "110" + "0111" + "110" + "1000" + "0", fill="1")
    assert unpack(content, book, 5).tolist() == [5, -5, 7, -8, 5]


def test_a_code_may_switch_to_another_table():
    book = read_codebook(section([*OWN, (3, 3, 0, 2, 0b111)], [(1, 1, 1, 9, 0), (1, 1, 0, 1, 1)]))
    content = packed_bits("0" + "111" + "0" + "0" + "1" + "10" + "111" + "0")
    assert unpack(content, book, 5).tolist() == [5, 9, 9, -5, 9]


def test_too_few_values_are_refused():
    content = scp_huffman([300, -300])
    for cut, n_values in ((content[:-1], 2), (content, 3), (b"", 1)):
        with pytest.raises(EcgError, match="samples-malformed"):
            unpack(cut, default_codebook(), n_values)
    with pytest.raises(EcgError, match="samples-malformed"):
        unpack(packed_bits("0" + "111" + "0" * 20), read_codebook(section(OWN)), 4)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (section(), "scp-malformed"),
        (section(*[OWN] * (MAX_TABLES + 1)), "scp-malformed"),
        (section([]), "scp-malformed"),
        (section([(1, 1, 1, 0, 0)] * (MAX_CODES + 1)), "scp-malformed"),
        (section([(0, 0, 1, 0, 0)]), "scp-malformed"),
        (section([(3, 2, 1, 0, 0)]), "scp-malformed"),
        (section([(1, 1, 1, 0, 0), (2, 2, 1, 1, 0)]), "scp-malformed"),
        (section([(1, 1, 0, 2, 0)]), "scp-malformed"),
        (section([(17, 17, 1, 0, 0)]), "waveform-unsupported"),
        (section([(4, 40, 1, 0, 0)]), "waveform-unsupported"),
    ],
)
def test_tables_that_make_no_sense_are_refused(content, expected):
    assert reason(content) == expected


def test_the_longest_lead_is_unpacked_quickly():
    book = build_codebook([OWN])
    start = time.process_time()
    assert np.all(unpack(bytes(65_535), book, 65_535 * 8) == 5)
    assert time.process_time() - start < 1
