"""Beat and rhythm annotations, read from and written to WFDB annotation files.

Symbols are those of the MIT-BIH database. AAMI_CLASSES of beats (ANSI/AAMI EC57, 5.1): N normal and
bundle branch block, S supraventricular, V ventricular ectopic, F fusion of V and N, Q paced or
unclassifiable. The two mappings differ in escape beats only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray

from model.errors import DatasetError
from model.findings import AAMI_CLASSES

Samples = NDArray[np.int64]

# As the WFDB tool bxb has it: escape beats from above the ventricles (e, j, n) are S.
BXB_CLASSES = {
    **dict.fromkeys("NLRB", "N"),
    **dict.fromkeys("AaJSejn", "S"),
    **dict.fromkeys("VEr", "V"),
    "F": "F",
    **dict.fromkeys("Q/f?", "Q"),
}
# As most papers since de Chazal et al. (IEEE Trans Biomed Eng 51:1196, 2004): escape beats are N.
DE_CHAZAL_CLASSES = {**BXB_CLASSES, **dict.fromkeys("ejn", "N")}

RHYTHM = "+"
FLUTTER_ON, FLUTTER_OFF = "[", "]"
SIGNAL_QUALITY = "~"
UNREADABLE_BITS = 0x30  # of a signal quality annotation's subtype: no lead can be read

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_EXTENSION = re.compile(r"[A-Za-z]{1,16}")


@dataclass(frozen=True, eq=False)
class Annotations:
    """What is said about a recording, in time order.

    Attributes:
        samples: `(n,)` where.
        symbols: `(n,)` one-character strings: beats, rhythm changes, flutter, signal quality.
        subtypes: `(n,)` the WFDB subtype; bits of unreadable leads at signal quality.
        notes: `n` texts, such as `(AFIB` where the symbol is RHYTHM; empty where there is none.
        sampling_rate_hz: of `samples`.
    """

    samples: Samples
    symbols: NDArray[np.str_]
    subtypes: Samples
    notes: tuple[str, ...]
    sampling_rate_hz: float

    def beats(self, classes: dict[str, str]) -> tuple[Samples, NDArray[np.str_]]:
        """Where the beats are and their classes; what `classes` does not name is no beat."""
        beat = np.isin(self.symbols, list(classes))
        named = np.array([classes[symbol] for symbol in self.symbols[beat]], dtype="<U1")
        return self.samples[beat], named

    def rows(self, chosen: NDArray[np.bool_]) -> "Annotations":
        """Keep some annotations."""
        return Annotations(
            self.samples[chosen],
            self.symbols[chosen],
            self.subtypes[chosen],
            tuple(compress(self.notes, chosen)),
            self.sampling_rate_hz,
        )


def beat_annotations(
    samples: Samples, classes: Sequence[str], sampling_rate_hz: float
) -> Annotations:
    """Annotations of beats alone, as a detector finds them."""
    symbols = np.array(classes, dtype="<U1")
    return Annotations(
        samples, symbols, np.zeros(len(samples), np.int64), ("",) * len(samples), sampling_rate_hz
    )


def read_annotations(record: Path, extension: str) -> Annotations:
    """Read `record.extension`; `record` is the path without an ending.

    Raises:
        DatasetError: `annotations-missing`, or `annotations-malformed`.
    """
    if not Path(f"{record}.{extension}").is_file():
        raise DatasetError("annotations-missing", f"no .{extension} file of this record")
    try:
        read = wfdb.rdann(str(record), extension)
    except (ValueError, IndexError, KeyError, OSError) as e:
        raise DatasetError("annotations-malformed", f"no annotations in {extension} form") from e
    if not read.fs:
        raise DatasetError("annotations-malformed", "neither the file nor a header has a rate")
    return Annotations(
        samples=np.asarray(read.sample, np.int64),
        symbols=np.array(read.symbol, dtype="<U1"),
        subtypes=np.asarray(read.subtype, np.int64),
        notes=tuple(note.rstrip("\x00") for note in read.aux_note),
        sampling_rate_hz=float(read.fs),
    )


def write_annotations(
    folder: Path,
    record: str,
    beats: Samples,
    classes: Sequence[str],
    sampling_rate_hz: float,
    *,
    rhythms: Sequence[tuple[int, str]] = (),
    extension: str = "hsb",
) -> Path:
    """Write beats by AAMI class, and rhythms from the sample where each begins, for any WFDB tool.

    Args:
        folder: where the file goes; must exist.
        record: name of the recording, which becomes the file's.
        beats: `(n,)` samples, ascending.
        classes: of the beats, each one of AAMI_CLASSES.
        sampling_rate_hz: of the samples; stored in the file.
        rhythms: first sample and WFDB name without bracket, such as `(0, "AFIB")`.
        extension: the annotator's name.

    Raises:
        DatasetError: `annotations-malformed`.
    """
    if not (_NAME.fullmatch(record) and _EXTENSION.fullmatch(extension)):
        raise DatasetError("annotations-malformed", "no WFDB name of a record or annotator")
    if len(beats) != len(classes) or not set(classes) <= set(AAMI_CLASSES):
        raise DatasetError("annotations-malformed", "each beat needs one of the classes NSVFQ")
    # A rhythm stands before the beat it begins with.
    rows = [(int(sample), 0, RHYTHM, f"({name}") for sample, name in rhythms]
    rows += [(int(sample), 1, label, "") for sample, label in zip(beats, classes, strict=True)]
    rows.sort()
    if not rows or rows[0][0] < 0:
        raise DatasetError("annotations-malformed", "nothing to write, or before the recording")
    wfdb.wrann(
        record,
        extension,
        np.array([sample for sample, *_ in rows], np.int64),
        symbol=[symbol for _, _, symbol, _ in rows],
        aux_note=[note for *_, note in rows],
        fs=sampling_rate_hz,
        write_dir=str(folder),
    )
    return folder / f"{record}.{extension}"
