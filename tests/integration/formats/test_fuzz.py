"""Whatever bytes come: read, or refused with a reason, in bounded time and memory."""

import re
import resource
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from integration.errors import ANSWERS
from integration.formats import ecgs_from_bytes
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import (
    aecg_series,
    aecg_xml,
    limb_leads_agree,
    make_counts,
    muse_waveform,
    muse_xml,
    scp_record,
    scp_sections,
    sierra_xml,
)

COUNTS = limb_leads_agree(make_counts(12, 60))
MAX_GROWTH_KB = 300_000
MAX_WORK_S = 10.0  # of CPU, far beyond what any of these takes: a hang
NUMBERS = st.sampled_from(["0", "-1", "1e9", "9" * 30, "4294967295", "65536", "nan", "", "\u0661"])


@cache
def good(name):
    if name == "dicom":
        return Path(str(get_testdata_file("waveform_ecg.dcm", download=False))).read_bytes()
    makers = {
        "aecg": lambda: aecg_xml(aecg_series(COUNTS)),
        "muse": lambda: muse_xml(muse_waveform(COUNTS[:8])),
        "sierra": lambda: sierra_xml(COUNTS, "1.04", "utf-8"),
        "scp": lambda: scp_record(scp_sections(COUNTS)),
    }
    return makers[name]()


def survives(data):
    """Read, or be refused, without a hang; return the reason, if any."""
    start = time.process_time()
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reason = None
    try:
        for found in ecgs_from_bytes(data):
            assert set(found.ecg.leads) <= set(LEADS_12)
    except EcgError as refused:
        reason = refused.reason
        assert reason in ANSWERS, "a reason that no protocol knows how to tell"
    assert time.process_time() - start < MAX_WORK_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < MAX_GROWTH_KB
    return reason


def mutated(data, draw):
    """Flip, cut, repeat or drop bytes."""
    content = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        # Half of all faults near the start, where the structure is.
        end = len(content) if draw(st.booleans()) else min(400, len(content))
        at = draw(st.integers(0, max(end - 1, 0)))
        how = draw(st.integers(0, 3))
        if how == 0:
            content[at : at + 1] = bytes((draw(st.integers(0, 255)),))
        elif how == 1:
            del content[at : at + draw(st.integers(1, 40))]
        elif how == 2:
            content[at:at] = content[at : at + 40] * draw(st.integers(1, 9))
        else:
            content[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\0\0\0\x80"]))
    return bytes(content)


@pytest.mark.parametrize("name", ["aecg", "muse", "sierra", "scp", "dicom"])
@given(data=st.data())
@settings(max_examples=60)
def test_damaged_files(name, data):
    survives(mutated(good(name), data.draw))


@pytest.mark.parametrize("name", ["aecg", "muse", "sierra"])
@given(data=st.data())
@settings(max_examples=60)
def test_numbers_and_texts_that_are_odd(name, data):
    text = good(name).decode("latin-1")
    values = [match.span(1) for match in re.finditer(r'[>"]([\w.+:-]{1,24})["<]', text)]
    first, last = data.draw(st.sampled_from(values))
    changed = text[:first] + data.draw(NUMBERS) + text[last:]
    survives(changed.encode("utf-8"))


@given(data=st.data())
@settings(max_examples=80)
def test_scp_sections_whose_checksums_are_right(data):
    sections = scp_sections(COUNTS)
    number = data.draw(st.sampled_from(sorted(sections)))
    content = mutated(sections[number], data.draw)
    survives(scp_record({**sections, number: content}))


@given(
    data=st.binary(max_size=400),
    start=st.sampled_from(
        [b"", b"<", b"<?xml ", b"%PDF-", bytes(16) + b"SCPECG", bytes(128) + b"DICM"]
    ),
)
@settings(max_examples=80)
def test_any_bytes(start, data):
    assert survives(start + data) is not None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<AnnotatedECG>" + b"<component>" * 90_000, "xml-malformed"),
        (b"<a b='" + b"&#65;" * 1_000_000 + b"'/>", "format-unknown"),
        (good("aecg").replace(b"<digits>", b"<digits>" + b"1 " * 4_000_000, 1),
         "samples-out-of-range"),
        (good("muse").replace(b"<WaveFormData>", b"<WaveFormData>" + b"AAAA" * 2_000_000, 1),
         "checksum-mismatch"),
        (good("sierra").replace(b"</parsedwaveforms>", b"AAAA" * 2_000_000 + b"</parsedwaveforms>"),
         "file-too-large"),
        (bytes(128) + b"DICM" + bytes(8_000_000), "waveform-unsupported"),
        (b"\xff\xfe<\0" + b"a\0" * 4_000_000, "xml-malformed"),
    ],
    ids=range(7),
)  # fmt: skip
def test_large_files_that_hold_little(data, reason):
    assert survives(data) == reason
