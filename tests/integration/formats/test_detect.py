import pytest

from integration.formats.detect import NOT_ECG, Kind, detect
from model.errors import EcgError


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bytes(128) + b"DICM", Kind.DICOM),
        (b"%PDF-1.4".ljust(128) + b"DICM", Kind.DICOM),  # the preamble is for other readers
        (bytes(16) + b"SCPECG", Kind.SCP),
        (b"<a/>", Kind.XML),
        (b"\n\t <a/>", Kind.XML),
        (b"\xef\xbb\xbf<a/>", Kind.XML),
        ("<a/>".encode("utf-16"), Kind.XML),
    ],
)
@pytest.mark.parametrize("hint", [None, "application/pdf", "text/plain"])
def test_content_decides_whatever_it_is_called(data, kind, hint):
    assert detect(data, hint) == kind


@pytest.mark.parametrize(
    ("data", "hint", "reason"),
    [
        (b"%PDF-1.7\n", None, "not-ecg-pdf"),
        (b"\r\n%PDF-1.7\n", "application/dicom", "not-ecg-pdf"),
        (b"\x89PNG\r\n\x1a\n", None, "not-ecg-image"),
        (b"\xff\xd8\xff\xe0", None, "not-ecg-image"),
        (b"{\\rtf1 }", None, "not-ecg-text"),
        (b"Sinus rhythm", "text/plain", "not-ecg-text"),
        (b"Sinus rhythm", None, "format-unknown"),
        (b"Sinus\0rhythm", "text/plain", "format-unknown"),
        (b"PK\x03\x04", None, "archive-unsupported"),
        (b"\x1f\x8b\x08", "application/xml", "archive-unsupported"),
        (b"", None, "format-unknown"),
        (b"%PDF-".rjust(5000), None, "format-unknown"),
    ],
)
def test_what_is_no_recording_is_told_apart(data, hint, reason):
    with pytest.raises(EcgError) as refused:
        detect(data, hint)
    assert refused.value.reason == reason
    assert (reason in NOT_ECG) == reason.startswith("not-ecg")
