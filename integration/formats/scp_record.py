"""The frame of an SCP-ECG record: checksums, pointers to sections, and the tags of section 1.

Source: EN 1064:2005, 5.2 (headers), 5.3 (section 0), 5.4 (section 1), annex B (CRC-CCITT).
"""

import binascii
import struct
from datetime import date, datetime, timedelta, timezone, tzinfo

from db.records import PatientRef
from integration.formats.decoded import placed
from model.errors import EcgError

MAX_RECORD_BYTES = 1024 * 1024  # twelve leads take 240 kB for 10 s at 1000 Hz, not compressed

_SECTIONS = range(1, 7)  # what is read: patient, tables, leads, beats, reference beat, rhythm
_HEADER = struct.Struct("<HHIBB6s")  # CRC, number, length, versions, reserved
_POINTER = struct.Struct("<HII")  # number, length, place from 1
_MAX_POINTERS = 1024
_END_TAG = 255
_PATIENT_ID, _DEVICE, _DATE, _TIME, _ZONE = 2, 14, 25, 26, 34
_NO_ZONE = 0x7FFF
_MODEL, _TEXTS = slice(8, 14), 36  # in the tag of the device
_MAKER = 4  # of its texts


def read_sections(content: bytes) -> dict[int, bytes]:
    """Return the data of sections 1 to 6 by their number, those that are there.

    Raises:
        EcgError: `file-too-large`, `scp-malformed`, `checksum-mismatch`.
        struct.error: cut short.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise EcgError("file-too-large", f"more than {MAX_RECORD_BYTES} bytes of SCP-ECG")
    crc, length = struct.unpack_from("<HI", content)
    if not 6 < length <= len(content) or content[length:].strip(b"\0"):
        raise EcgError("scp-malformed", "the record has not the length that it says")
    _check_crc(crc, content[2:length])
    record = content[:length]
    pointers = _section(record, 0, 6, struct.unpack_from("<I", record, 10)[0])
    sections: dict[int, bytes] = {}
    for number, size, place in _POINTER.iter_unpack(pointers[: len(pointers) // 10 * 10]):
        if number in _SECTIONS and size:
            if number in sections:
                raise EcgError("scp-malformed", "a section appears twice")
            sections[number] = _section(record, number, place - 1, size)
    return {number: data for number, data in sections.items() if data}


def _section(record: bytes, number: int, start: int, size: int) -> bytes:
    """Return a section's data, after its header of 16 bytes."""
    crc, found, length, *_ = _HEADER.unpack_from(record, max(start, 0))
    if start < 6 or found != number or length != size or not 16 <= size <= len(record) - start:
        raise EcgError("scp-malformed", "a section is not where it should be")
    if number == 0 and size > 16 + _MAX_POINTERS * _POINTER.size:
        raise EcgError("scp-malformed", "too many sections")
    section = record[start : start + size]
    _check_crc(crc, section[2:])
    return section[_HEADER.size :]


def _check_crc(stated: int, content: bytes) -> None:
    if binascii.crc_hqx(content, 0xFFFF) != stated:
        raise EcgError("checksum-mismatch", "the record was altered or cut on its way")


def tags(section: bytes) -> dict[int, bytes]:
    """Return the tags of section 1, the first of each number.

    Raises:
        struct.error: cut short.
    """
    found: dict[int, bytes] = {}
    position = 0
    while position < len(section) and section[position] != _END_TAG:
        tag, size = struct.unpack_from("<BH", section, position)
        value = section[position + 3 : position + 3 + size]
        if len(value) < size:
            raise EcgError("scp-malformed", "a tag of section 1 is cut short")
        found.setdefault(tag, value)
        position += 3 + size
    return found


def patient_of(header: dict[int, bytes]) -> PatientRef | None:
    """Return whom the record names.

    Raises:
        EcgError: `field-malformed`.
    """
    identifier = header.get(_PATIENT_ID, b"").split(b"\0")[0].strip()
    if not identifier.isascii():
        raise EcgError("field-malformed", "the patient's id is not of a certain character set")
    return PatientRef(identifier.decode()) if identifier else None


def device_of(header: dict[int, bytes]) -> tuple[str, ...]:
    """Return maker and model of the cart, as far as they are written."""
    value = header.get(_DEVICE, b"")
    texts = value[_TEXTS:].split(b"\0")
    maker = texts[_MAKER] if len(texts) > _MAKER else b""
    model = value[_MODEL].split(b"\0")[0]
    return tuple(part.decode("latin-1") for part in (maker, model))


def acquired_at(header: dict[int, bytes], zone: tzinfo | None) -> datetime | date | None:
    """Return when it was recorded, in the record's own zone, or `zone` where it says none.

    Raises:
        EcgError: `time-malformed`.
        struct.error: a tag is too short.
    """
    if not any(header.get(_DATE, b"")):
        return None
    year, month, day = struct.unpack_from("<HBB", header[_DATE])
    try:
        known = date(year, month, day)
        if _TIME not in header:
            return known
        hour, minute, second = header[_TIME][:3]
        stamp = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - see `placed`
        return placed(stamp, _own_zone(header) or zone)
    except ValueError:
        raise EcgError("time-malformed", "no such date or time") from None


def _own_zone(header: dict[int, bytes]) -> tzinfo | None:
    if _ZONE not in header:
        return None
    (minutes,) = struct.unpack_from("<h", header[_ZONE])
    return None if minutes == _NO_ZONE else timezone(timedelta(minutes=minutes))
