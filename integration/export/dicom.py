"""DICOM ECG waveforms (PS3.3, A.34.3 and A.34.4; Waveform Module C.10.9)."""

from datetime import UTC, date, datetime
from io import BytesIO
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from db.records import Exam
from integration.export.steps import steps_of
from model.ecg import LEADS_12, Ecg

_TWELVE_LEADS = UID("1.2.840.10008.5.1.4.1.1.9.1.1")
_GENERAL = UID("1.2.840.10008.5.1.4.1.1.9.1.2")
_MAX_TWELVE_SAMPLES = 16_384  # A.34.3.4.5
_TWELVE_RATES_HZ = (200.0, 1000.0)  # A.34.3.4.6
_NO_VALUE = -32_768
# SCP-ECG's numbers of the leads, in DICOM's CID 3001.
_LEAD_CODES = dict(zip(LEADS_12, (1, 2, 61, 62, 63, 64, *range(3, 9)), strict=True))


def encode_dicom(exam: Exam) -> bytes:
    """Return an object whose unique identifiers follow from the exam's."""
    ecg = exam.ecg
    kind = _TWELVE_LEADS if _is_twelve(ecg) else _GENERAL
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = _uid(exam.id)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID = _uid(uuid5(exam.id, "study"))
    made.SeriesInstanceUID = _uid(uuid5(exam.id, "series"))
    made.Modality, made.SeriesNumber, made.InstanceNumber = "ECG", 1, 1
    made.PatientID = exam.patient.identifier
    if exam.patient.authority is not None:
        made.IssuerOfPatientID = exam.patient.authority
    # Type 2 attributes: there, and empty, for nobody told us.
    made.PatientName = made.PatientBirthDate = made.PatientSex = made.StudyID = ""
    made.AccessionNumber = exam.placer_order or ""
    made.ReferringPhysicianName = made.Manufacturer = ""
    made.AcquisitionContextSequence = Sequence()
    _set_time(made, exam.acquired)
    made.WaveformSequence = Sequence([_group(ecg)])
    written = BytesIO()
    made.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _is_twelve(ecg: Ecg) -> bool:
    low, high = _TWELVE_RATES_HZ
    fits = low <= ecg.sampling_rate_hz <= high and ecg.n_samples <= _MAX_TWELVE_SAMPLES
    return set(ecg.leads) == set(LEADS_12) and fits


def _uid(id_: UUID) -> UID:
    """Return a UID made of a UUID (PS3.5, B.2)."""
    return UID(f"2.25.{id_.int}")


def _set_time(made: Dataset, acquired: datetime | date | None) -> None:
    at = acquired.astimezone(UTC) if isinstance(acquired, datetime) else acquired
    day = f"{at:%Y%m%d}" if at else ""
    made.StudyDate = made.ContentDate = day
    made.StudyTime = made.ContentTime = f"{at:%H%M%S}" if isinstance(at, datetime) else ""
    made.AcquisitionDateTime = f"{at:%Y%m%d%H%M%S.%f}" if isinstance(at, datetime) else day
    if isinstance(at, datetime):
        made.TimezoneOffsetFromUTC = "+0000"


def _group(ecg: Ecg) -> Dataset:
    steps = steps_of(ecg)
    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels = len(ecg.leads)
    group.NumberOfWaveformSamples = ecg.n_samples
    group.SamplingFrequency = f"{ecg.sampling_rate_hz:.10g}"
    group.ChannelDefinitionSequence = Sequence(
        [_channel(lead, step_mv) for lead, step_mv in zip(ecg.leads, steps.step_mv, strict=True)]
    )
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.add_new("WaveformPaddingValue", "OW", np.int16(_NO_VALUE).tobytes())
    counts = np.where(steps.missing, _NO_VALUE, steps.counts).astype("<i2")
    group.add_new("WaveformData", "OW", counts.T.tobytes())
    return group


def _channel(lead: str, step_mv: float) -> Dataset:
    channel = Dataset()
    number = _LEAD_CODES[lead]
    channel.ChannelSourceSequence = Sequence([_code(f"5.6.3-9-{number}", "SCPECG", f"Lead {lead}")])
    channel.ChannelSensitivity = f"{step_mv * 1000:.10g}"
    channel.ChannelSensitivityUnitsSequence = Sequence([_code("uV", "UCUM", "microvolt")])
    channel.ChannelSensitivityCorrectionFactor = "1"
    channel.ChannelBaseline, channel.ChannelSampleSkew = "0", "0"
    channel.WaveformBitsStored = 16
    return channel


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
