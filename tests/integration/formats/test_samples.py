"""Files of real carts and archives, read where they lie; another rendering is the witness."""

import os
from pathlib import Path

import numpy as np
import pytest
import wfdb

from db.records import PatientRef
from integration.formats import Format, read_ecgs
from model.ecg import LEADS_12, canonical_lead

FORMATS = Path(os.environ.get("ECG_FORMATS", Path(__file__).parents[4] / "shared" / "formats"))

# File; format, samples, rate, resolution of lead I, first samples of I and V6 in mV, device.
EXPECTED = [
    ("aecg/hl7_example_aecg.xml", Format.AECG, 5000, 500, 0.0025,
     (-0.005, -0.005, -0.005), (-0.0225, -0.0175, -0.0125), "Mortara Instrument, Inc. ELI250 5.3"),
    ("aecg/fda_ectd_subject1_0.xml", Format.AECG, 5000, 500, 0.0025,
     (-0.005, -0.005, -0.005), (-0.0225, -0.0175, -0.0125), "Mortara Instrument, Inc. ELI250 5.3"),
    ("scp/Example.scp", Format.SCP, 5000, 500, 0.0025,
     (-0.005, -0.005, -0.005), (-0.0225, -0.0175, -0.0125), "ECGConversion ELI250"),
    ("muse/muse-sinus.xml", Format.MUSE, 5000, 500, 0.00488,
     (-0.00976, -0.00488, -0.00488), (-0.04392, -0.04392, -0.04392), "MV360"),
    ("sierra/v1_03_129DYPRG.xml", Format.SIERRA, 5264, 500, 0.005,
     (0.24, 0.22, 0.2), (0.14, 0.125, 0.125), "Philips HeartstartMRx"),
    ("sierra/v1_04_ZZDEMO.xml", Format.SIERRA, 5300, 500, 0.005,
     (0.165, 0.165, 0.15), (0.395, 0.395, 0.39), "Philips PageWriter Touch"),
    ("dicom/waveform_ecg.dcm", Format.DICOM, 10_000, 1000, 0.00125,
     (0.1, 0.08125, 0.0625), None, "Mortara Instrument, Inc. el250"),
]  # fmt: skip


def sample(name):
    if not (FORMATS / name).is_file():
        pytest.skip("the sample files are neither at $ECG_FORMATS nor in ../shared/formats")
    (found,) = read_ecgs(FORMATS / name)
    return found


@pytest.mark.parametrize("expected", EXPECTED, ids=lambda row: row[0])
def test_what_each_file_holds(expected):
    name, kind, n_samples, rate_hz, resolution_mv, first_i, first_v6, device = expected
    found = sample(name)
    ecg = found.ecg
    assert (found.format, found.device, set(ecg.leads)) == (kind, device, set(LEADS_12))
    assert (ecg.n_samples, ecg.sampling_rate_hz) == (n_samples, rate_hz)
    assert dict(zip(ecg.leads, ecg.resolution_mv or (), strict=True))["I"] == pytest.approx(
        resolution_mv
    )
    assert ecg.lead("I")[:3].tolist() == pytest.approx(first_i, abs=1e-6)
    if first_v6:
        assert ecg.lead("V6")[:3].tolist() == pytest.approx(first_v6, abs=1e-6)
    assert len(found.patients) == 1
    assert found.acquired is not None
    assert ecg.start is None  # none of them names a zone


@pytest.mark.parametrize("row", EXPECTED, ids=lambda row: row[0])
def test_limb_leads_obey_einthoven_within_the_rounding_of_carts(row):
    ecg = sample(row[0]).ecg
    one, two = ecg.lead("I"), ecg.lead("II")
    slack_mv = 2.01 * max(ecg.resolution_mv or ())
    assert np.abs(ecg.lead("III") - (two - one)).max() <= slack_mv
    assert np.abs(ecg.lead("aVR") + (one + two) / 2).max() <= slack_mv
    assert np.abs(ecg.lead("aVL") - (one - two / 2)).max() <= slack_mv
    assert np.abs(ecg.lead("aVF") - (two - one / 2)).max() <= slack_mv


def test_scp_holds_the_same_ecg_as_the_aecg_it_was_made_of():
    ours, witness = sample("scp/Example.scp"), sample("aecg/hl7_example_aecg.xml")
    for lead in LEADS_12:
        assert np.array_equal(ours.ecg.lead(lead), witness.ecg.lead(lead))
    assert ours.patients == (PatientRef(witness.patients[0].identifier),)
    assert ours.acquired == witness.acquired


def test_muse_holds_the_same_ecg_as_its_wfdb_rendering():
    ecg = sample("muse/muse-sinus.xml").ecg
    witness = wfdb.rdrecord(str(FORMATS / "muse" / "muse-sinus"), physical=False)
    # Its steps are whole microvolts, although its header calls them 200 a millivolt.
    for name, steps in zip(witness.sig_name, witness.d_signal.T, strict=True):
        assert np.abs(ecg.lead(canonical_lead(name)) * 1000 - steps).max() <= 1.01
