import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from db.records import Bed
from integration.errors import ANSWERS, Refused
from integration.hl7v2.decode import Kind, decode
from model.ecg import LEADS_12
from tests.hl7_messages import MSH, OBR, PID, twelve, wcm
from tests.integration.formats.encoders import STEP_UV, aecg_series, aecg_xml, make_counts

COUNTS = make_counts(12, 600)
NAMED = '<id root="1.2.3" extension="4711"/>'
XML = aecg_xml(aecg_series(COUNTS), subject=NAMED)
STUDY = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "93000^ELECTROCARDIOGRAM^CPT4")
LABORATORY = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "58410-2^CBC^LN")
PDF = b"%PDF-1.4\n%%EOF\n"


def b64(data):
    return base64.b64encode(data).decode()


def message(*values, kind="ED", obr=STUDY, **options):
    """A message with one OBX a value."""
    return wcm(*(f"{kind}|11524-6^EKG study^LN||{v}||||||F" for v in values), obr=obr, **options)


def escaped(data):
    text = data.decode()
    for mark, letter in (("\\", "E"), ("|", "F"), ("^", "S"), ("&", "T"), ("~", "R")):
        text = text.replace(mark, f"\\{letter}\\")
    return text.replace("\n", "\\.br\\")


def broken(data, width=76):
    text = b64(data)
    return "\r".join(text[i : i + width] for i in range(0, len(text), width))


def refused(raw):
    with pytest.raises(Refused) as caught:
        decode(raw)
    assert caught.value.reason in ANSWERS
    return caught.value.reason, caught.value.location


def the_ecg(raw):
    decoded = decode(raw)
    assert decoded.kind is Kind.ECG
    (exam,) = decoded.exams
    return exam


FORMS = [
    f"^application^xml^Base64^{b64(XML)}",
    f"AP^Application^XML^Base64^{b64(XML)}",
    f"MTL^XML^XML^Base64^{b64(XML)}",
    f"^Base64^{b64(XML)}^Base64",
    f"{b64(XML)}^Base64",
    f"^application^xml^BASE-64^{b64(XML).rstrip('=')}",
    f"^application^xml^base64^{broken(XML)}",
    f"^application^xml^Base64^{broken(XML).replace(chr(13), chr(92) + '.br' + chr(92))}",
    f"^application^xml^Base64^{broken(XML).replace(chr(13), ' ')}",
    f"^application^xml^Hex^{XML.hex()}",
    f"^application^xml^HEX^{XML.hex().upper()}",
    f"^application^xml^A^{escaped(XML)}",
    f"^application^xml^^{escaped(XML)}",
    f"^application^xml^^{b64(XML)}",
    b64(XML),
]


@pytest.mark.parametrize("value", FORMS, ids=range(len(FORMS)))
def test_an_annotated_ecg_in_every_form_seen(value):
    exam = the_ecg(message(value))
    assert exam.ecg.leads == LEADS_12
    assert np.abs(exam.ecg.voltage_mv * 1000 / STEP_UV - COUNTS).max() < 1e-3
    assert (exam.patient.identifier, exam.placer_order, exam.filler_order) == ("4711", "P1", "F1")
    assert exam.acquired == exam.ecg.start


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_file_with_line_breaks_is_mended_whatever_separates_segments(end):
    raw = message(f"^application^xml^Base64^{broken(XML)}", PDF.hex())
    assert the_ecg(raw.replace(b"\r", end.encode())).ecg.n_samples == 600


def test_a_text_that_holds_a_file_is_one_only_where_it_says_so():
    assert the_ecg(message(FORMS[0], kind="TX")).ecg.n_samples == 600
    assert decode(message(b64(XML), kind="TX")).exams == ()


def test_dicom():
    data = Path(get_testdata_file("waveform_ecg.dcm")).read_bytes()
    raw = message(f"^application^dicom^Base64^{b64(data)}")
    assert refused(raw) == ("patient-disagrees", ("OBX", 1, 5))
    patient = str(pydicom.dcmread(BytesIO(data)).PatientID)
    exam = the_ecg(raw.replace(b"4711", patient.encode()))
    assert (exam.ecg.leads, exam.ecg.sampling_rate_hz) == (LEADS_12, 1000.0)


@pytest.mark.parametrize(
    ("pid", "agrees"),
    [
        (PID, True),
        ("PID|1||9^^^HOSP^MR~4711^^^OLD^PI", True),
        ("PID|1|4711|9^^^HOSP^MR", True),
        ("PID|1||9^^^HOSP^MR|4711~8", True),
        ("PID|1||9^^^HOSP^MR", False),
        ("PID|1||04711^^^HOSP^MR", False),
        ("PID|1||9^^^HOSP^MR||4711", False),
    ],
)
def test_the_file_and_the_message_name_one_patient(pid, agrees):
    raw = message(FORMS[0], pid=pid)
    if agrees:
        assert the_ecg(raw).patient.identifier in pid
    else:
        assert refused(raw) == ("patient-disagrees", ("OBX", 1, 5))


def test_a_file_without_a_patient_is_the_messages():
    anonymous = aecg_xml(aecg_series(COUNTS), subject="")
    assert the_ecg(message(f"^^^Base64^{b64(anonymous)}")).patient.identifier == "4711"
    raw = message(f"^^^Base64^{b64(anonymous)}", pid="PID|1||")
    assert refused(raw) == ("patient-missing", ("PID", 1, 3))


def test_a_file_of_a_bed():
    anonymous = aecg_xml(aecg_series(COUNTS), subject="")
    raw = message(f"^^^Base64^{b64(anonymous)}", pid="PID|1||\rPV1|1|I|ICU^1^2")
    exam = the_ecg(raw)
    assert (exam.patient, exam.bed) == (None, Bed("ICU^1^2"))


def test_several_files_and_several_recordings_in_one():
    two = aecg_xml(aecg_series(COUNTS), aecg_series(COUNTS[:, :300]), subject=NAMED)
    value = f"^^^Base64^{b64(two)}~^^^Base64^{b64(XML)}"
    exams = decode(message(value, FORMS[3])).exams
    assert [exam.ecg.n_samples for exam in exams] == [600, 300, 600, 600]


def test_waveforms_come_before_files():
    raw = wcm(*twelve(), f"ED|93000||{FORMS[0]}")
    assert [exam.ecg.n_samples for exam in decode(raw).exams] == [3, 600]


@pytest.mark.parametrize(
    "value",
    [
        f"^application^pdf^Base64^{b64(PDF)}",
        f"MTL^PDF^PDF^Base64^{b64(PDF)}",
        f"^Base64^{b64(PDF)}^Base64",
        f"^application^pdf^Hex^{PDF.hex()}",
        f"^image^jpeg^Base64^{b64(bytes([0xFF, 0xD8, 0xFF, 0xE0]) + bytes(99))}",
        f"^text^plain^Base64^{b64(b'Sinus rhythm')}",
        f"^text^xml^Base64^{b64(b'<ClinicalDocument/>')}",
    ],
)
@pytest.mark.parametrize("obr", [STUDY, LABORATORY])
def test_documents_are_kept_and_are_no_ecg(value, obr):
    decoded = decode(message(value, obr=obr))
    assert (decoded.kind, decoded.exams, decoded.notes) == (Kind.DOCUMENT, (), ())


def test_a_link_is_recorded_and_never_followed():
    link = "http://127.0.0.1:1/ecg.xml^CART^application^xml"
    assert decode(message(link, kind="RP")).kind is Kind.DOCUMENT


UNREAD = [
    ("^application^octet-stream^Base64^AAAABBBB", "format-unknown"),
    ("^application^xml^Base64^@@@@", "document-malformed"),
    ("^application^xml^Base64^A", "document-malformed"),
    ("^application^xml^Hex^ABC", "document-malformed"),
    (f"^application^xml^Base64^{b64(XML[: len(XML) // 2])}", "xml-malformed"),
    (f"^application^zip^Base64^{b64(b'PK' + bytes([3, 4]) + bytes(99))}", "archive-unsupported"),
]


@pytest.mark.parametrize(("value", "reason"), UNREAD)
def test_what_cannot_be_read_is_refused_where_an_ecg_is_due(value, reason):
    assert refused(message(value)) == (reason, ("OBX", 1, 5))
    other = message(value, obr=LABORATORY).replace(b"11524-6^EKG study", b"1^other")
    assert decode(other).kind is Kind.OTHER


@pytest.mark.parametrize(("value", "reason"), UNREAD)
def test_what_cannot_be_read_is_passed_over_beside_something_certain(value, reason):
    for certain in (FORMS[0], f"^application^pdf^Base64^{b64(PDF)}"):
        assert [note.reason for note in decode(message(value, certain)).notes] == [reason]


def test_a_broken_ecg_is_refused_wherever_it_stands():
    wrong = XML.replace(b"MDC_ECG_LEAD_V1", b"MDC_ECG_LEAD_V2")
    for obr in (STUDY, LABORATORY):
        assert refused(message(f"^^^Base64^{b64(wrong)}", obr=obr))[0] == "lead-duplicate"


def test_a_withdrawn_file_is_no_ecg():
    raw = message(FORMS[0]).replace(b"||||||F", b"||||||X")
    assert decode(raw).exams == ()


def test_a_message_with_other_delimiters():
    table = str.maketrans("|^~\\&", "#@%?$")
    raw = message(FORMS[0]).decode().translate(table).encode()
    assert the_ecg(raw).ecg.n_samples == 600
    assert MSH.translate(table).startswith("MSH#@%?$")
