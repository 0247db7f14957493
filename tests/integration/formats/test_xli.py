import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.formats.xli import unpack_leads
from model.errors import EcgError
from tests.integration.formats.encoders import lzw, make_counts, packed_bits, xli_chunk

COUNTS = make_counts(2, 700)
GOOD = b"".join(map(xli_chunk, COUNTS))


def reason(content, n_leads=2, n_samples=700):
    with pytest.raises(EcgError) as refused:
        unpack_leads(content, n_leads, n_samples)
    return refused.value.reason


def test_a_round_trip():
    assert np.array_equal(unpack_leads(GOOD, 2, 700), COUNTS)
    assert np.array_equal(unpack_leads(GOOD, 1, 700), COUNTS[:1])


@given(st.lists(st.integers(-8000, 8000), min_size=3, max_size=60))
def test_any_samples(samples):
    assert unpack_leads(xli_chunk(samples), 1, len(samples)).tolist() == [samples]


def test_a_repeated_string_that_is_coded_before_it_is_whole():
    samples = [5] * 400  # long runs make codes that stand for the entry being built
    assert unpack_leads(xli_chunk(samples), 1, 400).tolist() == [samples]


@pytest.mark.parametrize("n_samples", [1, 2])
def test_very_short_leads_are_samples_as_they_stand(n_samples):
    words = np.array([7, -9][:n_samples], ">i2").tobytes()
    content = lzw(words[::2] + words[1::2])
    chunk = struct.pack("<IHh", len(content), 1, 0) + content
    assert unpack_leads(chunk, 1, n_samples).tolist() == [[7, -9][:n_samples]]


def test_what_is_damaged_is_refused():
    assert reason(GOOD, n_leads=3) == "samples-malformed"
    assert reason(GOOD[:-1]) == "samples-malformed"
    assert reason(GOOD[:5]) == "samples-malformed"
    assert reason(GOOD, n_samples=701) == "samples-malformed"
    assert reason(GOOD, n_samples=699) == "samples-malformed"
    assert reason(GOOD[:4] + b"\x02\x00" + GOOD[6:]) == "waveform-unsupported"
    unknown_code = packed_bits(f"{65:010b}{300:010b}{1023:010b}")
    assert (
        reason(struct.pack("<IHh", len(unknown_code), 1, 0) + unknown_code) == "samples-malformed"
    )
    first_unknown = packed_bits(f"{256:010b}{1023:010b}")
    assert (
        reason(struct.pack("<IHh", len(first_unknown), 1, 0) + first_unknown) == "samples-malformed"
    )


def test_samples_beyond_16_bits_are_refused():
    words = np.array([0, 0, *[30_000] * 50], ">i2").tobytes()
    content = lzw(words[::2] + words[1::2])
    assert reason(struct.pack("<IHh", len(content), 1, 0) + content, 1, 52) == "samples-malformed"


def test_a_bomb_is_not_unpacked():
    codes = [0, *range(256, 1023), *[1022] * 400_000, 1023]
    content = packed_bits("".join(f"{code:010b}" for code in codes))
    bomb = struct.pack("<IHh", len(content), 1, 0) + content
    start = time.process_time()
    assert reason(bomb, 1, 5500) == "samples-malformed"
    assert time.process_time() - start < 1
