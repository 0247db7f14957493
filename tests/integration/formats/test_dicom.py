import time
import warnings
import zlib
from datetime import UTC, date, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.uid import UID

from db.records import PatientRef
from integration.formats.decoded import Format
from integration.formats.dicom import MAX_INFLATED_BYTES, decode
from model.ecg import LEADS_12
from model.errors import EcgError

PATH = Path(str(get_testdata_file("waveform_ecg.dcm", download=False)))
EAST = timezone(timedelta(hours=1))
SMALL = PATH.read_bytes()[:4000]


def read(path):
    return decode(path.read_bytes()).ecg


@pytest.fixture
def dataset():
    return pydicom.dcmread(PATH)


def rhythm(dataset):
    return dataset.WaveformSequence[0]


def channel(dataset, index=0):
    return rhythm(dataset).ChannelDefinitionSequence[index]


def written(dataset, folder):
    with warnings.catch_warnings(action="ignore"):
        dataset.save_as(folder / "ecg.dcm")
    return folder / "ecg.dcm"


def test_the_rhythm_is_read_and_the_median_beat_is_not(dataset):
    ecg = read(PATH)
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.n_samples) == (LEADS_12, 1000.0, 10_000)
    assert ecg.resolution_mv == pytest.approx((0.00125,) * 12)
    expected_uv = dataset.waveform_array(0).T
    assert np.abs(ecg.voltage_mv * 1000 - expected_uv).max() < 1e-3
    assert ecg.start is None  # the object names no time zone


@pytest.mark.parametrize(
    ("acquired", "zone", "start"),
    [
        ("20130125105919+0100", None, datetime(2013, 1, 25, 9, 59, 19, tzinfo=UTC)),
        ("20130125105919.5", "-0230", datetime(2013, 1, 25, 13, 29, 19, 500_000, tzinfo=UTC)),
        ("20130125105919", None, None),
        ("201301", "+0100", None),
        (None, "+0100", None),
    ],
)
def test_start_needs_a_time_zone(dataset, tmp_path, acquired, zone, start):
    dataset.AcquisitionDateTime = acquired
    dataset.TimezoneOffsetFromUTC = zone
    assert read(written(dataset, tmp_path)).start == start


@pytest.mark.parametrize(
    ("unit", "scale", "expected"),
    [
        ("uV", ("1.25", "1", "0"), (1.0, 0.0)),
        ("uV", ("2.5", "0.5", "100"), (1.0, 0.1)),
        ("mV", ("0.00125", "2", "0.5"), (2.0, 0.5)),
        ("V", ("0.00000125", "1", "-0.001"), (1.0, -1.0)),
    ],
)
def test_sensitivity_correction_baseline_and_unit(dataset, tmp_path, unit, scale, expected):
    first, (factor, offset_mv) = channel(dataset), expected
    first.ChannelSensitivity, first.ChannelSensitivityCorrectionFactor = scale[:2]
    first.ChannelBaseline = scale[2]
    first.ChannelSensitivityUnitsSequence[0].CodeValue = unit
    ecg = read(written(dataset, tmp_path))
    assert ecg.lead("I") == pytest.approx(read(PATH).lead("I") * factor + offset_mv, abs=1e-5)
    assert ecg.lead("II") == pytest.approx(read(PATH).lead("II"))


@pytest.mark.parametrize(
    ("scheme", "code", "meaning"),
    [
        ("SCPECG", "5.6.3-9-1", "Lead I"),
        ("MDC", "2:1", "Lead I (Einthoven)"),
        ("MDC", "2:257", "I"),
        ("MDC", "131329", "MDC_ECG_ELEC_POTL_I"),
        ("MDC", "131073", "MDC_ECG_LEAD_I"),
    ],
)
def test_codes_of_one_lead(dataset, tmp_path, scheme, code, meaning):
    source = channel(dataset).ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeValue, source.CodeMeaning = scheme, code, meaning
    assert read(written(dataset, tmp_path)).leads == LEADS_12


@pytest.mark.parametrize(
    ("scheme", "code", "meaning"),
    [
        ("SCPECG", "5.6.3-9-1", "Lead II"),
        ("SCPECG", "5.6.3-9-1", "Lead V3R"),
        ("SCPECG", "5.6.3-9-1", ""),
        ("SCPECG", "5.6.3-9-65", "Lead aVR"),  # -aVR
        ("99LOCAL", "5.6.3-9-1", "Lead I"),
        ("MDC", "131331", "MDC_ECG_ELEC_POTL_III"),
    ],
)
def test_code_and_meaning_must_agree(dataset, tmp_path, scheme, code, meaning):
    source = channel(dataset).ChannelSourceSequence[0]
    source.CodingSchemeDesignator, source.CodeValue, source.CodeMeaning = scheme, code, meaning
    with pytest.raises(EcgError, match="lead-mismatch"):
        read(written(dataset, tmp_path))


def test_other_channels_are_left_out_and_no_lead_comes_twice(dataset, tmp_path):
    source = channel(dataset).ChannelSourceSequence[0]
    source.CodeValue, source.CodeMeaning = "5.6.3-9-15", "Lead V3R"
    assert read(written(dataset, tmp_path)).leads == LEADS_12[1:]
    source.CodeValue, source.CodeMeaning = "5.6.3-9-2", "Lead II"
    with pytest.raises(EcgError, match="lead-duplicate"):
        read(written(dataset, tmp_path))


def test_padding_is_no_value(dataset, tmp_path):
    samples = np.frombuffer(rhythm(dataset).WaveformData, "<i2").copy()
    samples[0] = -32768
    rhythm(dataset).WaveformData = samples.tobytes()
    rhythm(dataset).add_new(
        "WaveformPaddingValue", "OW", (-32768).to_bytes(2, "little", signed=True)
    )
    ecg = read(written(dataset, tmp_path))
    assert np.isnan(ecg.lead("I")[0])
    assert np.isnan(ecg.voltage_mv).sum() == 1


def no_groups(dataset):
    del dataset.WaveformSequence


def only_median(dataset):
    dataset.WaveformSequence = Sequence(dataset.WaveformSequence[1:])


def twice(dataset):
    dataset.WaveformSequence = Sequence([rhythm(dataset), rhythm(dataset)])


def no_lead_at_all(dataset):
    for definition in rhythm(dataset).ChannelDefinitionSequence:
        definition.ChannelSourceSequence[0].CodeValue = "5.6.3-9-15"
        definition.ChannelSourceSequence[0].CodeMeaning = "Lead V3R"


def many_channels(dataset):
    rhythm(dataset).ChannelDefinitionSequence = Sequence([channel(dataset)] * 33)


def unset(where, keyword):
    return lambda dataset: delattr(where(dataset), keyword)


def put(where, keyword, value):
    return lambda dataset: setattr(where(dataset), keyword, value)


def unit(dataset):
    return channel(dataset).ChannelSensitivityUnitsSequence[0]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (put(lambda d: d, "SOPClassUID", UID("1.2.840.10008.5.1.4.1.1.2")), "waveform-unsupported"),
        (no_groups, "samples-missing"),
        (only_median, "samples-missing"),
        (twice, "waveform-unsupported"),
        (no_lead_at_all, "lead-missing"),
        (many_channels, "leads-malformed"),
        (unset(rhythm, "SamplingFrequency"), "rate-missing"),
        (put(rhythm, "SamplingFrequency", "30"), "rate-out-of-range"),
        (unset(rhythm, "WaveformData"), "samples-missing"),
        (put(rhythm, "WaveformData", bytes(1000)), "samples-malformed"),
        (put(rhythm, "NumberOfWaveformSamples", 9_999), "samples-malformed"),
        (put(rhythm, "NumberOfWaveformSamples", 4_000_000_000), "samples-out-of-range"),
        (put(rhythm, "NumberOfWaveformChannels", 11), "samples-malformed"),
        (put(rhythm, "WaveformSampleInterpretation", "UB"), "waveform-unsupported"),
        (put(rhythm, "WaveformSampleInterpretation", "MB"), "waveform-unsupported"),
        (unset(rhythm, "ChannelDefinitionSequence"), "lead-missing"),
        (unset(channel, "ChannelSourceSequence"), "dicom-malformed"),
        (unset(channel, "ChannelSensitivity"), "resolution-missing"),
        (unset(channel, "ChannelSensitivityCorrectionFactor"), "resolution-missing"),
        (unset(channel, "ChannelBaseline"), "resolution-missing"),
        (put(channel, "ChannelSensitivity", "0"), "resolution-out-of-range"),
        (put(channel, "ChannelSensitivity", "-1.25"), "resolution-out-of-range"),
        (put(channel, "ChannelBaseline", "1e300"), "amplitude-implausible"),
        (put(channel, "ChannelSampleSkew", "3"), "waveform-unsupported"),
        (put(channel, "ChannelTimeSkew", "0.01"), "waveform-unsupported"),
        (unset(channel, "ChannelSensitivityUnitsSequence"), "unit-unknown"),
        (put(unit, "CodeValue", "mm[Hg]"), "unit-unknown"),
        (put(unit, "CodingSchemeDesignator", "99LOCAL"), "unit-unknown"),
    ],
)
def test_what_contradicts_or_is_missing_is_refused(dataset, tmp_path, damage, reason):
    damage(dataset)
    with pytest.raises(EcgError) as refused:
        read(written(dataset, tmp_path))
    assert refused.value.reason == reason


def test_a_file_of_pictures_syntax_is_refused(dataset, tmp_path):
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.50")
    with pytest.raises(EcgError, match="waveform-unsupported"):
        read(written(dataset, tmp_path))


def test_another_object_of_dicom_is_refused():
    with pytest.raises(EcgError, match="waveform-unsupported"):
        read(Path(str(get_testdata_file("CT_small.dcm", download=False))))


@pytest.mark.parametrize(
    "sop_class",
    [
        "1.2.840.10008.5.1.4.1.1.9.1.2",
        "1.2.840.10008.5.1.4.1.1.9.1.3",
        "1.2.840.10008.5.1.4.1.1.9.1.4",
    ],
)
def test_every_ecg_object_is_read(dataset, tmp_path, sop_class):
    dataset.SOPClassUID = UID(sop_class)
    assert read(written(dataset, tmp_path)).leads == LEADS_12


def test_whose_and_when_and_by_what(dataset, tmp_path):
    found = decode(PATH.read_bytes())
    assert (found.format, found.acquired) == (Format.DICOM, date(2013, 1, 25))
    assert found.patients == (PatientRef(str(dataset.PatientID)),)
    assert found.device == "Mortara Instrument, Inc. el250"
    assert decode(PATH.read_bytes(), EAST).ecg.start == datetime(2013, 1, 25, 9, 59, 19, tzinfo=UTC)
    dataset.PatientID, dataset.IssuerOfPatientID = " 7 ", "HOSPITAL"
    found = decode(written(dataset, tmp_path).read_bytes())
    assert found.patients == (PatientRef("7", "HOSPITAL"),)
    dataset.PatientID = ""
    assert decode(written(dataset, tmp_path).read_bytes()).patients == ()


def test_a_patients_id_of_several_values_or_letters_is_refused(dataset, tmp_path):
    dataset.PatientID = ["1", "2"]
    with pytest.raises(EcgError, match="field-malformed"):
        read(written(dataset, tmp_path))
    dataset.PatientID = "\u00fc"
    path = written(dataset, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 192"))
    with pytest.raises(EcgError, match="field-malformed"):
        read(path)


@pytest.mark.parametrize(
    ("kind", "sample_type"),
    [("SB", "i1"), ("UB", "u1"), ("SS", "<i2"), ("US", "<u2"), ("SL", "<i4"), ("UL", "<u4")],
)
def test_samples_of_every_width(dataset, tmp_path, kind, sample_type):
    bits, vr = np.dtype(sample_type).itemsize * 8, "OB" if sample_type[1] == "1" else "OW"
    samples = np.arange(12 * 75).reshape(75, 12) % 100
    group = rhythm(dataset)
    group.WaveformSampleInterpretation, group.WaveformBitsAllocated = kind, bits
    group.NumberOfWaveformSamples = 75
    group.add_new("WaveformData", vr, samples.astype(sample_type).tobytes())
    group.add_new("WaveformPaddingValue", vr, np.array([99, 0], sample_type).tobytes())
    ecg = read(written(dataset, tmp_path))
    expected = np.where(samples == 99, np.nan, samples * 0.00125).T
    assert np.allclose(ecg.voltage_mv, expected, equal_nan=True, atol=1e-6)


def test_an_odd_number_of_bytes_is_filled_up(dataset, tmp_path):
    group = rhythm(dataset)
    group.WaveformSampleInterpretation, group.WaveformBitsAllocated = "SB", 8
    group.NumberOfWaveformSamples, group.NumberOfWaveformChannels = 61, 1
    group.ChannelDefinitionSequence = Sequence([channel(dataset)])
    group.add_new("WaveformData", "OB", bytes(range(61)) + b"\x7f")
    ecg = read(written(dataset, tmp_path))
    assert ecg.voltage_mv[0] == pytest.approx(np.arange(61) * 0.00125)


def big_endian(dataset):
    for group in dataset.WaveformSequence:
        group.WaveformData = np.frombuffer(group.WaveformData, "<i2").astype(">i2").tobytes()
    for tag in [element.tag for element in dataset if element.tag.is_private]:
        del dataset[tag]
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.2")


def saved(dataset, folder):
    with warnings.catch_warnings(action="ignore"):
        pydicom.dcmwrite(folder / "ecg.dcm", dataset, enforce_file_format=True, overwrite=True)
    return folder / "ecg.dcm"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"])
def test_implicit_and_deflated_files_are_read(dataset, tmp_path, syntax):
    dataset.decode()
    again = pydicom.Dataset(dataset)
    again.file_meta = dataset.file_meta
    again.file_meta.TransferSyntaxUID = UID(syntax)
    ecg = read(saved(again, tmp_path))
    assert np.array_equal(ecg.voltage_mv, read(PATH).voltage_mv)


def test_big_endian_files_are_read(dataset, tmp_path):
    dataset.decode()
    again = pydicom.Dataset(dataset)
    again.file_meta = dataset.file_meta
    big_endian(again)
    assert np.array_equal(read(saved(again, tmp_path)).voltage_mv, read(PATH).voltage_mv)
    group = rhythm(again)
    group.WaveformSampleInterpretation, group.WaveformBitsAllocated = "SB", 8
    group.NumberOfWaveformSamples *= 2
    with pytest.raises(EcgError, match="waveform-unsupported"):
        read(saved(again, tmp_path))


def test_a_deflated_bomb_is_refused_at_once():
    with warnings.catch_warnings(action="ignore"):
        content = pydicom.dcmread(PATH)
        content.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
        file = BytesIO()
        pydicom.filewriter.write_file_meta_info(file, content.file_meta)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(MAX_INFLATED_BYTES + 1)) + packer.flush()
    start = time.process_time()
    with pytest.raises(EcgError, match="file-too-large"):
        decode(bytes(128) + b"DICM" + file.getvalue() + bomb)
    with pytest.raises(EcgError, match="dicom-malformed"):
        decode(bytes(128) + b"DICM" + file.getvalue() + b"\xff" * 100)
    assert time.process_time() - start < 1


def test_a_file_of_countless_elements_is_refused_at_once():
    content = PATH.read_bytes()
    at = content.index(b"\x08\x00\x05\x00CS")
    start = time.process_time()
    with pytest.raises(EcgError, match="dicom-malformed"):
        decode(content[:at] + b"\x08\x00\x01\x00SH\0\0" * 1_000_000)
    assert time.process_time() - start < 1


def test_a_pdf_inside_dicom_is_no_recording(dataset, tmp_path):
    dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.104.1")
    with pytest.raises(EcgError, match="not-ecg-pdf"):
        read(written(dataset, tmp_path))


@given(
    cut=st.integers(132, len(SMALL)),
    flips=st.lists(st.tuples(st.integers(132, len(SMALL) - 1), st.integers(0, 255)), max_size=5),
)
@settings(max_examples=150)
def test_a_damaged_file_is_refused_with_a_reason(tmp_path_factory, cut, flips):
    content = bytearray(SMALL)
    for position, value in flips:
        content[position] = value
    path = tmp_path_factory.getbasetemp() / "damaged.dcm"
    path.write_bytes(content[:cut])
    with pytest.raises(EcgError):
        read(path)
