import struct

import numpy as np
import pytest

from db.records import PatientRef
from integration.formats.decoded import Format
from integration.formats.scp import MAX_CHANNELS, decode
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import (
    SCP_NUMBERS,
    make_counts,
    packed_bits,
    scp_leads,
    scp_record,
    scp_sections,
    scp_waves,
)

COUNTS = make_counts(12, 1600)
N = COUNTS.shape[1]
NUMBERS = list(SCP_NUMBERS.values())


def steps(sections, step_mv=0.0025):
    return decode(scp_record(sections)).ecg.voltage_mv / step_mv


def reason(sections):
    with pytest.raises(EcgError) as refused:
        decode(scp_record(sections))
    return refused.value.reason


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("coded", [True, False])
def test_every_way_of_storing_samples(order, coded):
    sections = scp_sections(COUNTS, order=order)
    if not coded:
        del sections[2]
        sections[6] = scp_waves(COUNTS, order=order, huffman=None)
    assert np.abs(steps(sections) - COUNTS).max() < 1e-3


def test_a_table_of_the_records_own():
    table = [(1, 1, 1, 0, 0), (1, 17, 1, 0, 1)]  # 0, or a 1 and sixteen bits
    packed = struct.pack("<HH", 1, 2) + b"".join(struct.pack("<BBBhI", *code) for code in table)

    def huffman(row):
        bits = ("1" + f"{int(value) & 0xFFFF:016b}" if value else "0" for value in row)
        return packed_bits("".join(bits))

    sections = {**scp_sections(COUNTS, huffman=huffman), 2: packed}
    assert np.abs(steps(sections) - COUNTS).max() < 1e-3


def test_what_else_the_record_says():
    found = decode(scp_record(scp_sections(COUNTS, step_nv=1250, interval_us=1000)))
    assert (found.format, found.device) == (Format.SCP, "Maker M1")
    assert (found.ecg.leads, found.ecg.sampling_rate_hz) == (LEADS_12, 1000)
    assert found.ecg.resolution_mv == (0.00125,) * 12
    assert found.patients == (PatientRef("P-1"),)


@pytest.mark.parametrize("n_samples", [1, 2, 3])
def test_very_short_leads(n_samples):
    assert np.abs(steps(scp_sections(COUNTS[:, :n_samples])) - COUNTS[:, :n_samples]).max() < 1e-3


def test_other_channels_are_left_out():
    sections = scp_sections(COUNTS)
    sections[3] = scp_leads([9, *NUMBERS[1:-1], 65], N)  # V7 and -aVR
    found = decode(scp_record(sections))
    assert found.ecg.leads == LEADS_12[1:-1]
    assert np.abs(found.ecg.voltage_mv / 0.0025 - COUNTS[1:-1]).max() < 1e-3


def subtracted(
    shift=0, scale=2500, beats=((130, 200, 270, 0), (530, 601, 660, 0), (900, 950, 999, 1))
):
    """Return sections whose beats of type 0 are stored as what they differ from a reference."""
    reference = COUNTS[:, 99:299]
    fiducial = 101 + shift  # counted from 1, as sample 200 of the rhythm is
    residual = COUNTS.copy()
    for first, at, last, kind in beats:
        if kind == 0:
            start = 101 - (at - first) - 1
            residual[:, first - 1 : last] -= reference[:, start : start + last - first + 1]
    zones = b"".join(struct.pack("<HIII", kind, first, at, last) for first, at, last, kind in beats)
    return {
        **scp_sections(residual),
        3: scp_leads(NUMBERS, N, flags=0x65),
        4: struct.pack("<HHH", 400, fiducial, len(beats)) + zones,
        5: scp_waves(reference, step_nv=scale),
    }


def test_the_reference_beat_is_put_back_where_it_was_subtracted():
    assert np.abs(steps(subtracted()) - COUNTS).max() < 1e-3
    unused = {**subtracted(), 3: scp_leads(NUMBERS, N), 6: scp_waves(COUNTS)}
    assert np.abs(steps(unused) - COUNTS).max() < 1e-3


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_reference_beat_beside_its_place_is_refused(shift):
    assert reason(subtracted(shift)) == "waveform-unsupported"


def without(sections, number):
    return {key: value for key, value in sections.items() if key != number}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (without(subtracted(), 4), "scp-malformed"),
        (without(subtracted(), 5), "scp-malformed"),
        (subtracted(scale=1000), "waveform-unsupported"),
        ({**subtracted(), 4: struct.pack("<HHH", 400, 101, 1)}, "scp-malformed"),
        ({**subtracted(), 4: struct.pack("<HHH", 400, 101, 65535)}, "scp-malformed"),
        ({**subtracted(), 4: struct.pack("<HHH", 0, 101, 0)}, "scp-malformed"),
        ({**subtracted(), 4: struct.pack("<HHH", 65000, 101, 0)}, "scp-malformed"),
        ({**subtracted(), 4: struct.pack("<HHHHIII", 400, 101, 1, 0, 0, 5, 9)}, "scp-malformed"),
        ({**subtracted(), 4: struct.pack("<HHHHIII", 400, 101, 1, 0, 1, 1, 200)}, "scp-malformed"),
        (
            {**subtracted(), 4: struct.pack("<HHH", 400, 101, 9)
             + struct.pack("<HIII", 0, 300, 400, 499) * 9},
            "scp-malformed",
        ),
    ],
    ids=range(10),
)  # fmt: skip
def test_reference_beats_that_make_no_sense_are_refused(sections, expected):
    assert reason(sections) == expected


GOOD = scp_sections(COUNTS)


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (without(GOOD, 3), "lead-missing"),
        (without(GOOD, 6), "samples-missing"),
        (without(GOOD, 2), "samples-malformed"),  # coded, but by no table
        ({**GOOD, 2: b"\x01"}, "scp-malformed"),
        ({**GOOD, 3: scp_leads([], N)}, "leads-malformed"),
        ({**GOOD, 3: scp_leads([1] * (MAX_CHANNELS + 1), N)}, "leads-malformed"),
        ({**GOOD, 3: scp_leads([0] * 12, N)}, "lead-missing"),
        ({**GOOD, 3: scp_leads([*NUMBERS[:-1], 1], N)}, "lead-duplicate"),
        ({**GOOD, 3: scp_leads(NUMBERS, N)[:-3]}, "scp-malformed"),
        ({**GOOD, 3: scp_leads(NUMBERS, N)[:-9] + struct.pack("<IIB", 1601, 3200, 8)},
         "waveform-unsupported"),
        ({**GOOD, 3: scp_leads(NUMBERS, N + 1)}, "samples-malformed"),
        ({**GOOD, 3: scp_leads(NUMBERS, 2**32 - 1)}, "samples-out-of-range"),
        ({**GOOD, 3: scp_leads(NUMBERS, 0)}, "samples-out-of-range"),
        ({**GOOD, 6: scp_waves(COUNTS, step_nv=0)}, "resolution-missing"),
        ({**GOOD, 6: scp_waves(COUNTS, interval_us=0)}, "rate-missing"),
        ({**GOOD, 6: scp_waves(COUNTS, interval_us=60_000)}, "rate-out-of-range"),
        ({**GOOD, 6: scp_waves(COUNTS, bimodal=1)}, "waveform-unsupported"),
        ({**GOOD, 6: GOOD[6][:4] + b"\x03" + GOOD[6][5:]}, "scp-malformed"),
        ({**GOOD, 6: GOOD[6][:-1]}, "scp-malformed"),
        ({**GOOD, 6: GOOD[6][:7]}, "scp-malformed"),
        ({**GOOD, 1: b"\x19\x02\x00\xea\x07\xff\0\0"}, "scp-malformed"),
    ],
    ids=range(21),
)  # fmt: skip
def test_what_contradicts_or_is_missing_is_refused(sections, expected):
    assert reason(sections) == expected
