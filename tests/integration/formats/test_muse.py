import zlib
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from db.records import PatientRef
from integration.formats.decoded import Format
from integration.formats.markup import parse_xml
from integration.formats.muse import decode
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import (
    MUSE_LEADS,
    make_counts,
    muse_lead,
    muse_waveform,
    muse_xml,
)

STEP_MV = 0.00488
COUNTS = make_counts(8, 600)
GOOD = muse_xml(muse_waveform(COUNTS))
CRC = str(zlib.crc32(np.asarray(COUNTS[0], "<i2").tobytes()))


def read(content, zone=None):
    return decode(parse_xml(content), zone)


def changed(old, new, content=GOOD):
    assert old.encode() in content
    return content.replace(old.encode(), new.encode(), 1)


def test_eight_leads_become_twelve():
    (found,) = read(GOOD)
    ecg = found.ecg
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.n_samples) == (LEADS_12, 500, 600)
    for lead, row in zip(MUSE_LEADS, COUNTS, strict=True):
        assert ecg.lead(lead) == pytest.approx(row * STEP_MV, abs=1e-6)
    one, two = COUNTS[:2] * STEP_MV
    assert ecg.lead("III") == pytest.approx(two - one, abs=1e-6)
    assert ecg.lead("aVR") == pytest.approx(-(one + two) / 2, abs=1e-6)
    assert ecg.lead("aVL") == pytest.approx(one - two / 2, abs=1e-6)
    assert ecg.lead("aVF") == pytest.approx(two - one / 2, abs=1e-6)
    steps = ecg.voltage_mv / np.array(ecg.resolution_mv)[:, None]
    assert np.abs(steps - np.rint(steps)).max() < 1e-3


def test_whose_and_when_and_by_what():
    (found,) = read(GOOD)
    assert (found.format, found.device) == (Format.MUSE, "MAC1")
    assert found.patients == (PatientRef("P-1"),)
    assert (found.acquired, found.ecg.start) == (date(2026, 1, 2), None)
    (found,) = read(GOOD, timezone(timedelta(hours=-5)))
    assert found.ecg.start == datetime(2026, 1, 2, 8, 4, 5, tzinfo=UTC)
    assert read(changed("<PatientID>P-1</PatientID>", ""))[0].patients == ()
    assert read(changed("01-02-2026", ""))[0].acquired is None


def test_a_median_is_no_recording():
    median = muse_waveform(COUNTS[:, :100], kind="Median")
    assert [one.ecg.n_samples for one in read(muse_xml(median, muse_waveform(COUNTS)))] == [600]
    with pytest.raises(EcgError, match="samples-missing"):
        read(muse_xml(median))


@pytest.mark.parametrize(
    ("base", "exponent", "rate_hz"),
    [("240", "0", 240), ("250", "0", 250), ("500", "0", 500), ("1000", "0", 1000), ("5", "2", 500)],
)
def test_rates(base, exponent, rate_hz):
    content = changed("<SampleBase>500", f"<SampleBase>{base}")
    content = changed("<SampleExponent>0", f"<SampleExponent>{exponent}", content)
    assert read(content)[0].ecg.sampling_rate_hz == rate_hz


def test_what_is_stored_is_not_derived_and_what_cannot_be_is_left():
    stored = muse_waveform(COUNTS[:3], ("I", "II", "III"))
    (found,) = read(muse_xml(stored))
    assert found.ecg.leads == ("I", "II", "III", "aVR", "aVL", "aVF")
    assert found.ecg.lead("III") == pytest.approx(COUNTS[2] * STEP_MV, abs=1e-6)
    (found,) = read(muse_xml(muse_waveform(COUNTS[:3], ("II", "V1", "V3R"))))
    assert found.ecg.leads == ("II", "V1")


def test_millivolts_and_steps_of_each_lead():
    leads = muse_lead("I", [100, 200], "0.005", "MILLIVOLTS") + muse_lead("II", [100, 200], "5")
    text = muse_waveform(COUNTS[:0], ()).replace("</Waveform>", leads + "</Waveform>")
    (found,) = read(muse_xml(text.replace("<NumberofLeads>0", "<NumberofLeads>2")))
    assert found.ecg.lead("I").tolist() == pytest.approx([0.5, 1.0])
    assert found.ecg.lead("II").tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<SampleBase>500", "<SampleBase>", "rate-missing"),
        ("<SampleBase>500", "<SampleBase>0", "rate-missing"),
        ("<SampleBase>500", "<SampleBase>5e300", "rate-out-of-range"),
        ("<SampleExponent>0", "<SampleExponent>99", "rate-missing"),
        ("<NumberofLeads>8", "<NumberofLeads>12", "leads-malformed"),
        ("<LeadID>II<", "<LeadID>I<", "lead-duplicate"),
        ("MICROVOLTS", "", "unit-unknown"),
        ("MICROVOLTS", "MMHG", "unit-unknown"),
        ("4.88", "", "resolution-missing"),
        ("4.88", "0", "resolution-out-of-range"),
        ("4.88", "-4.88", "resolution-out-of-range"),
        ("4.88", "1e300", "resolution-out-of-range"),
        ("4.88", "999", "amplitude-implausible"),
        (f"<LeadDataCRC32>{CRC}", "<LeadDataCRC32>1", "checksum-mismatch"),
        (f"<LeadDataCRC32>{CRC}", "<LeadDataCRC32>x", "checksum-mismatch"),
        ("<LeadByteCountTotal>1200", "<LeadByteCountTotal>1201", "samples-malformed"),
        ("<LeadSampleCountTotal>600", "<LeadSampleCountTotal>5000", "samples-malformed"),
        ("<WaveFormData>", "<WaveFormData>!", "samples-malformed"),
        ("<LeadTimeOffset>0", "<LeadTimeOffset>4", "waveform-unsupported"),
        ("<FirstSampleBaseline>0", "<FirstSampleBaseline>7", "waveform-unsupported"),
        ("<LeadSampleSize>2", "<LeadSampleSize>4", "waveform-unsupported"),
        ("01-02-2026", "yesterday", "time-malformed"),
    ],
)
def test_what_contradicts_or_is_missing_is_refused(old, new, reason):
    with pytest.raises(EcgError) as refused:
        read(changed(old, new))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (muse_waveform(COUNTS[:1], ("V3R",)), "lead-missing"),
        (muse_waveform(COUNTS[:0], ()), "lead-missing"),
        (muse_waveform([[1, 2], [1, 2, 3]], ("I", "II")), "lengths-differ"),
        (muse_waveform([[]], ("I",)), "samples-missing"),
        (muse_waveform(COUNTS[:1], ("I",)) * 17, "waveform-unsupported"),
        (muse_waveform(np.zeros((33, 2)), ("X",) * 33), "leads-malformed"),
    ],
)
def test_waveforms_that_do_not_fit_together_are_refused(waveform, reason):
    with pytest.raises(EcgError) as refused:
        read(muse_xml(waveform))
    assert refused.value.reason == reason


def test_a_crc_may_be_left_out_or_signed():
    signed = int(CRC) - 2**32
    for new in ("", str(signed)):
        changed_crc = changed(f"<LeadDataCRC32>{CRC}", f"<LeadDataCRC32>{new}")
        assert read(changed_crc)[0].ecg.n_samples == 600
