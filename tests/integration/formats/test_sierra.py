from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from db.records import PatientRef
from integration.formats.decoded import Format
from integration.formats.markup import parse_xml
from integration.formats.sierra import decode
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import limb_leads_agree, make_counts, sierra_xml

COUNTS = limb_leads_agree(make_counts(12, 600)) // 4
OLD = sierra_xml(COUNTS, "1.03", "utf-8")
NEW = sierra_xml(COUNTS, "1.04", "utf-8")


def read(content, zone=None):
    (found,) = decode(parse_xml(content), zone)
    return found


def changed(old, new, content=NEW):
    assert old.encode() in content
    return content.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize("content", [OLD, NEW, sierra_xml(COUNTS)])
def test_both_versions_are_read(content):
    found = read(content)
    assert (found.ecg.leads, found.ecg.sampling_rate_hz) == (LEADS_12, 500)
    assert np.abs(found.ecg.voltage_mv / 0.005 - COUNTS).max() < 1e-3
    assert found.ecg.resolution_mv == (0.005,) * 12
    assert (found.format, found.device) == (Format.SIERRA, "Philips Cart")
    assert found.patients == (PatientRef("P-1"),)
    assert (found.acquired, found.ecg.start) == (date(2026, 1, 2), None)


def test_a_known_zone_makes_a_time_of_it():
    found = read(NEW, timezone(timedelta(hours=1)))
    assert found.acquired == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)


def test_limb_leads_that_do_not_agree_are_read_as_they_are():
    counts = make_counts(12, 600)
    assert np.abs(read(sierra_xml(counts)).ecg.voltage_mv / 0.005 - counts).max() < 1e-3


def test_the_calibration_pulse_is_no_ecg():
    pulse = np.repeat([0, 200, 0], [40, 100, 60])
    with_pulse = np.hstack([COUNTS, np.tile(pulse, (12, 1))])
    assert np.abs(read(sierra_xml(with_pulse)).ecg.voltage_mv / 0.005 - COUNTS).max() < 1e-3


@pytest.mark.parametrize("tail", [np.zeros(200, int), np.repeat([0, 150, 0], [40, 100, 60])])
def test_only_a_pulse_of_one_millivolt_is_cut(tail):
    whole = np.hstack([COUNTS, np.tile(tail, (12, 1))])
    assert read(sierra_xml(whole)).ecg.n_samples == 800
    assert read(sierra_xml(np.tile(tail, (12, 1)))).ecg.n_samples == 200


def test_other_channels_are_left_out():
    content = changed("V5 V6", "V5 V4R")
    assert read(content).ecg.leads == LEADS_12[:11]


def test_the_record_number_stands_in_where_there_is_no_patient_id():
    content = changed("<patientid>P-1</patientid>", "<patientid/><MRN>M-1</MRN>")
    assert read(content).patients == (PatientRef("M-1"),)
    assert read(changed("<patientid>P-1</patientid>", "")).patients == ()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<documentversion>1.04", "<documentversion>2.0", "waveform-unsupported"),
        ('compression="XLI"', 'compression="ZIP"', "waveform-unsupported"),
        ('compression="XLI"', "", "waveform-unsupported"),
        ('dataencoding="Base64"', 'dataencoding="Plain"', "waveform-unsupported"),
        ("<bitspersample>16", "<bitspersample>12", "waveform-unsupported"),
        ("<signaloffset>0", "<signaloffset>5", "waveform-unsupported"),
        ("<signalsigned>True", "<signalsigned>False", "waveform-unsupported"),
        ("parsedwaveforms ", "otherwaveforms ", "xml-malformed"),
        ("<samplingrate>500", "<samplingrate>250", "rate-conflict"),
        ("<samplingrate>500", "<samplingrate>x", "rate-missing"),
        ("<resolution>5", "<resolution>2.5", "resolution-conflict"),
        ('numberofleads="12"', 'numberofleads="8"', "leads-malformed"),
        ("III aVR", "aVR aVR", "lead-duplicate"),
        (" ".join(LEADS_12), "X " * 12, "lead-missing"),
        (" ".join(LEADS_12), "X " * 17, "leads-malformed"),
        ("I II III", "X II III", "lead-missing"),
        ('durationperchannel="1200"', 'durationperchannel="1198"', "samples-malformed"),
        ('durationperchannel="1200"', 'durationperchannel="1201"', "samples-malformed"),
        ('durationperchannel="1200"', 'durationperchannel=""', "samples-malformed"),
        ('durationperchannel="1200"', 'durationperchannel="99999999"', "samples-out-of-range"),
        ('date="2026-01-02"', 'date="2026-13-02"', "time-malformed"),
    ],
)
def test_what_contradicts_or_is_missing_is_refused(old, new, reason):
    with pytest.raises(EcgError) as refused:
        read(changed(old, new))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<acquisitiontype>STD-12", "<acquisitiontype>EASI", "lead-missing"),
        ("<samplingrate>500</samplingrate>", "", "rate-missing"),
        ("<signalresolution>5</signalresolution>", "", "resolution-missing"),
        ("<signalresolution>5", "<signalresolution>0", "resolution-out-of-range"),
        ("<waveforms>", "<waveforms><parsedwaveforms/>", "samples-missing"),
    ],
)
def test_what_the_older_version_lacks_is_refused(old, new, reason):
    with pytest.raises(EcgError) as refused:
        read(changed(old, new, OLD))
    assert refused.value.reason == reason
