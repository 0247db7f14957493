"""ECGs to files of the formats that others read; what is written is read back by `formats`."""

from collections.abc import Callable

from db.records import Exam
from integration.export.aecg import encode_aecg
from integration.export.dicom import encode_dicom
from integration.export.wfdb import encode_wfdb

# Each returns the ends of names of the files, and what stands in them.
Encoder = Callable[[Exam], dict[str, bytes]]
ENCODERS: dict[str, Encoder] = {
    "wfdb": encode_wfdb,
    "dicom": lambda exam: {".dcm": encode_dicom(exam)},
    "aecg": lambda exam: {".xml": encode_aecg(exam)},
}
