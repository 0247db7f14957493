"""ECG files to `Ecg`. Nothing is guessed: what a file does not say is refused with a reason."""

from pathlib import Path

from integration.formats import dicom, wfdb
from integration.formats.files import read_limited
from model.ecg import Ecg
from model.errors import EcgError

__all__ = ["read_ecg"]

_DICOM_MAGIC, _DICOM_PREAMBLE = b"DICM", 128  # PS3.10, 7.1
_WFDB_SAMPLES = {".dat", ".mat"}


def read_ecg(path: Path) -> Ecg:
    """Read a DICOM ECG, or a WFDB record by its header, its samples or its name alone.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `format-unknown`, or the reader's own reasons.
    """
    header = _wfdb_header(path)
    if path.is_file() and path != header:
        start = read_limited(path, _DICOM_PREAMBLE + len(_DICOM_MAGIC), whole=False)
        if start[_DICOM_PREAMBLE:] == _DICOM_MAGIC:
            return dicom.read(path)
        if header is None:
            raise EcgError("format-unknown", "neither a DICOM file nor part of a WFDB record")
    if header is not None:
        return wfdb.read(header)
    if path.exists():
        raise EcgError("format-unknown", "not a file")
    raise EcgError("file-missing", "there is no such file, nor a WFDB header of that name")


def _wfdb_header(path: Path) -> Path | None:
    if path.suffix == ".hea":
        return path
    beside = [path.with_name(path.name + ".hea")] if path.name else []
    if path.suffix in _WFDB_SAMPLES:
        beside.append(path.with_suffix(".hea"))
    return next((header for header in beside if header.is_file()), None)
