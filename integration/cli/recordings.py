"""Which files of a folder are recordings."""

import os
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

# Files of these kinds are meant to be recordings: one that cannot be read is told.
_RECORDINGS = {".dcm", ".hea", ".scp", ".ecg", ".xml", ".dat", ".mat"}


def recordings(paths: Iterable[Path], also: Set[str] = frozenset()) -> Iterator[tuple[Path, bool]]:
    """Files as they were named, and those in folders at any depth, in the order of their names.

    Args:
        paths: files and folders.
        also: more endings of files that are meant to be read.

    Yields:
        Each file, and whether it must be a recording. Of a folder that is asked of known endings
        alone; samples and annotations beside a WFDB header are its parts, and hidden files nothing.
    """
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, _RECORDINGS | also)
        else:
            yield path, True


def _in_folder(folder: Path, endings: Set[str]) -> Iterator[tuple[Path, bool]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        records = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or (path.suffix != ".hea" and path.stem in records):
                continue
            yield path, path.suffix.lower() in endings
