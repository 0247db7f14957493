"""What a file is, by its content; what a sender calls it is believed only where content is mute."""

from enum import StrEnum

from model.errors import EcgError

_DICOM_MAGIC, _DICOM_PREAMBLE = b"DICM", 128  # PS3.10, 7.1
_SCP_MAGIC, _SCP_MAGIC_AT = b"SCPECG", 16  # EN 1064, 5.3.1: reserved bytes of section 0
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh")
_IMAGES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_PDF_WITHIN = 1024  # readers of PDF look for its mark this far into the file
_XML_STARTS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<\0", b"\xfe\xff\0<")

# A document about an ECG, which is no recording: to be kept or passed on, never to be scored.
NOT_ECG = frozenset({"not-ecg-pdf", "not-ecg-image", "not-ecg-text", "not-ecg-xml"})


class Kind(StrEnum):
    """Families of files that are told apart before they are parsed."""

    DICOM = "dicom"
    SCP = "scp"
    XML = "xml"


def detect(data: bytes, hint: str | None = None) -> Kind:
    """Return what the bytes are.

    Args:
        data: the file.
        hint: media type that the sender gave, or None. It decides nothing but the reason with
            which unknown content is refused.

    Raises:
        EcgError: `not-ecg-pdf`, `not-ecg-image`, `not-ecg-text`: no recording (`NOT_ECG`);
            `archive-unsupported`: compressed, which is not unpacked; `format-unknown`.
    """
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + len(_DICOM_MAGIC)] == _DICOM_MAGIC:
        return Kind.DICOM
    if data[_SCP_MAGIC_AT : _SCP_MAGIC_AT + len(_SCP_MAGIC)] == _SCP_MAGIC:
        return Kind.SCP
    start = data[:_PDF_WITHIN]
    if start.lstrip().startswith(_XML_STARTS):
        return Kind.XML
    raise _refusal(start, hint)


def _refusal(start: bytes, hint: str | None) -> EcgError:
    if b"%PDF-" in start:
        return EcgError("not-ecg-pdf", "a PDF document, not a recording")
    if start.startswith(_IMAGES):
        return EcgError("not-ecg-image", "a picture, not a recording")
    if start.startswith(_ARCHIVES):
        return EcgError("archive-unsupported", "archives and compressed files are not unpacked")
    if start.startswith(b"{\\rtf") or _plain_text(start, hint):
        return EcgError("not-ecg-text", "a text, not a recording")
    return EcgError("format-unknown", "no format that is read here")


def _plain_text(start: bytes, hint: str | None) -> bool:
    return (hint or "").strip().lower().startswith("text/") and b"\0" not in start
