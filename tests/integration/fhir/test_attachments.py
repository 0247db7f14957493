"""ECG files in resources, through the readers of the HL7 side."""

import base64
import hashlib
import re
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest

from integration.errors import Refused
from integration.export.dicom import encode_dicom
from integration.fhir.decode import decode
from model.ecg import LEADS_12
from model.simulate import simulate
from tests.fhir_observations import bundle, full_url
from tests.integration.export.conftest import exam_of
from tests.integration.formats.encoders import (
    STEP_UV,
    aecg_series,
    aecg_xml,
    make_counts,
    scp_record,
    scp_sections,
)

COUNTS = make_counts(12, 600)
XML = aecg_xml(aecg_series(COUNTS), subject='<id root="1.2.3" extension="ZZCANARY-1"/>')
NAMELESS = aecg_xml(aecg_series(COUNTS), subject="")
SUBJECT = {"identifier": {"value": "ZZCANARY-1"}}
STUDY = {"coding": [{"system": "http://loinc.org", "code": "11524-6"}]}
PDF = b"%PDF-1.4\n%%EOF\n"


def attachment(data, **changes):
    return {"contentType": "application/xml", "data": base64.b64encode(data).decode()} | changes


def holder(kind, attached):
    made = {"resourceType": kind, "subject": SUBJECT}
    if kind == "DocumentReference":
        return made | {"type": STUDY, "content": [{"attachment": attached}]}
    name = "valueAttachment" if kind == "Observation" else "content"
    return made | {name: attached, "code": STUDY, "type": STUDY}


def read(resource):
    return decode(orjson.dumps(resource))


def refused(resource):
    with pytest.raises(Refused) as caught:
        read(resource)
    return caught.value.reason, caught.value.expression


@pytest.mark.parametrize("kind", ["Observation", "DocumentReference", "Media"])
@pytest.mark.parametrize("content", [XML, NAMELESS])
def test_a_file(kind, content):
    (exam,) = read(holder(kind, attachment(content)))
    assert np.array_equal(np.rint(exam.ecg.voltage_mv * 1000 / STEP_UV), COUNTS)
    assert exam.patient.identifier == "ZZCANARY-1"
    assert exam.acquired is not None


SCP = scp_record(scp_sections(make_counts(12, 2000)))
DICOM = encode_dicom(exam_of(simulate("normal", seed=1)))


@pytest.mark.parametrize(("content", "patient"), [(SCP, "P-1"), (DICOM, "ZZCANARY-4711")])
@pytest.mark.parametrize("kind", ["Observation", "DocumentReference", "Media"])
def test_files_of_other_formats(kind, content, patient):
    told = attachment(content, contentType="application/octet-stream")
    subject = {"identifier": {"value": patient}}
    (exam,) = read(holder(kind, told) | {"subject": subject})
    assert exam.patient.identifier == patient
    assert set(exam.ecg.leads) == set(LEADS_12)
    assert refused(holder(kind, told))[0] == "patient-disagrees"


def test_a_file_in_a_binary_beside_it():
    binary = {"resourceType": "Binary", "contentType": "application/xml"} | {
        "data": base64.b64encode(XML).decode()
    }
    reference = holder("DocumentReference", {"url": full_url(1)})
    assert len(read(bundle(reference, binary))) == 1
    assert read(bundle(reference)) == ()  # elsewhere, and never fetched


def test_the_time_of_the_resource_where_the_file_has_none():
    silent = re.sub(rb'<(low|head) value="[^"]*"', rb'<\1 value=""', NAMELESS)
    resource = holder("Media", attachment(silent)) | {"createdDateTime": "2026-05-01T10:00:00Z"}
    (exam,) = read(resource)
    assert exam.acquired == datetime(2026, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("kind", ["Observation", "DocumentReference", "Media"])
def test_documents_are_ordinary(kind):
    assert read(holder(kind, attachment(PDF))) == ()


def test_unknown_content_is_ordinary_where_no_ecg_is_meant():
    other = holder("DocumentReference", attachment(b"\x00\x01\x02" * 99)) | {"type": {"text": "x"}}
    assert read(other) == ()


def test_the_hash():
    digest = base64.b64encode(hashlib.sha1(XML, usedforsecurity=False).digest()).decode()
    assert len(read(holder("Media", attachment(XML, hash=digest)))) == 1
    assert refused(holder("Media", attachment(XML, hash="AAAA"))) == (
        "checksum-mismatch",
        "Media.content.hash",
    )


@pytest.mark.parametrize(
    ("attached", "reason"),
    [
        (attachment(b"\x00\x01\x02" * 99), "format-unknown"),
        (attachment(XML[:-40]), "xml-malformed"),
        (attachment(XML.replace(b"ZZCANARY-1", b"ZZCANARY-2")), "patient-disagrees"),
        (attachment(XML) | {"data": "no base64!"}, "document-malformed"),
        (attachment(aecg_xml(aecg_series(COUNTS[:2], leads=("I", "I")))), "lead-duplicate"),
    ],
)
def test_a_broken_ecg_is_refused_where_it_stands(attached, reason):
    found = refused(holder("DocumentReference", attached))
    assert found == (reason, "DocumentReference.content[0].attachment.data")


@pytest.mark.parametrize("kind", ["Observation", "DocumentReference", "Media"])
def test_what_is_withdrawn_is_no_ecg(kind):
    withdrawn = holder(kind, attachment(XML)) | {"status": "entered-in-error"}
    assert refused(withdrawn) == ("waveform-unsupported", f"{kind}.status")


def test_a_document_that_was_replaced_is_no_second_ecg():
    assert read(holder("DocumentReference", attachment(XML)) | {"status": "superseded"}) == ()
