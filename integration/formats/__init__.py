"""ECG files to `Ecg`. Nothing is guessed: what a file does not say is refused with a reason."""

from datetime import tzinfo
from pathlib import Path

from integration.formats import aecg, dicom, muse, scp, sierra
from integration.formats.decoded import DecodedEcg, Format
from integration.formats.detect import NOT_ECG, Kind, detect
from integration.formats.files import read_limited
from integration.formats.markup import local_name, parse_xml
from model.ecg import Ecg
from model.errors import EcgError

__all__ = ["NOT_ECG", "DecodedEcg", "Format", "ecgs_from_bytes", "read_ecg", "read_ecgs"]

MAX_FILE_BYTES = 128 * 1024 * 1024

_WFDB_SAMPLES = {".dat", ".mat"}
_XML_ROOTS = {
    "AnnotatedECG": aecg.decode,
    "RestingECG": muse.decode,
    "restingecgdata": sierra.decode,
}
# Other XML may well be a recording of a maker not known here, and is refused as one.
_XML_DOCUMENTS = {"ClinicalDocument", "html", "svg"}


def ecgs_from_bytes(
    data: bytes, *, hint: str | None = None, zone: tzinfo | None = None
) -> list[DecodedEcg]:
    """Read the recordings in a file that came inside a message or attachment.

    Args:
        data: the file, already decoded from base64 or hex.
        hint: media type that the sender gave; content decides, whatever it says.
        zone: that the sender's clocks are known to be in; None: a time without an offset counts by
            its date alone.

    Returns:
        At least one recording, in the order of the file.

    Raises:
        EcgError: one of `NOT_ECG`: a document, not a recording; `archive-unsupported`,
            `format-unknown`, `file-too-large`, or the reasons of the format's own reader.
    """
    kind = detect(data, hint)
    if kind == Kind.DICOM:
        return [dicom.decode(data, zone)]
    if kind == Kind.SCP:
        return [scp.decode(data, zone)]
    root = parse_xml(data)
    name = local_name(root)
    if name in _XML_DOCUMENTS:
        raise EcgError("not-ecg-xml", "an XML document, not a recording")
    if name not in _XML_ROOTS:
        raise EcgError("format-unknown", "no XML format that is read here")
    return _XML_ROOTS[name](root, zone)


def read_ecg(path: Path) -> Ecg:
    """Read the one recording of a file; a WFDB record by its header, its samples or its name alone.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `format-unknown`, `ecg-ambiguous` (several
            recordings), or the reader's own reasons.
    """
    found = read_ecgs(path)
    if len(found) > 1:
        raise EcgError("ecg-ambiguous", f"the file holds {len(found)} recordings")
    return found[0].ecg


def read_ecgs(path: Path, *, zone: tzinfo | None = None) -> list[DecodedEcg]:
    """Read every recording of a file; see `ecgs_from_bytes` and `wfdb.read`.

    Raises:
        EcgError: `file-missing`, `file-unreadable`, `file-too-large`, `format-unknown`, or the
            reader's own reasons.
    """
    header = _wfdb_header(path)
    if header is not None and not _known(path, header):
        # With it comes pandas, which listeners, who read no files, do without.
        from integration.formats import wfdb  # noqa: PLC0415

        return [DecodedEcg(wfdb.read(header), Format.WFDB)]
    if not path.is_file():
        if path.exists():
            raise EcgError("format-unknown", "not a file")
        raise EcgError("file-missing", "there is no such file, nor a WFDB header of that name")
    return ecgs_from_bytes(read_limited(path, MAX_FILE_BYTES), zone=zone)


def _known(path: Path, header: Path) -> bool:
    """Whether a file beside a WFDB header of its name is an ECG by itself."""
    if path == header or not path.is_file():
        return False
    try:
        detect(read_limited(path, 1024, whole=False))
    except EcgError:
        return False
    return True


def _wfdb_header(path: Path) -> Path | None:
    if path.suffix == ".hea":
        return path
    beside = [path.with_name(path.name + ".hea")] if path.name else []
    if path.suffix in _WFDB_SAMPLES:
        beside.append(path.with_suffix(".hea"))
    return next((header for header in beside if header.is_file()), None)
