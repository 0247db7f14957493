"""Remarks (`#...` lines) in WFDB headers, found in folders of any depth."""

import os
from collections.abc import Iterator
from pathlib import Path

MAX_HEADER_BYTES = 64 * 1024


def wfdb_headers(folder: Path) -> Iterator[Path]:
    """Every header below a folder, in the order of their names; hidden folders are passed over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".hea") and not name.startswith("."):
                yield Path(place, name)


def remarks(header: Path) -> list[str]:
    """The header's remarks without `#`; none when it cannot be read."""
    try:
        with header.open("rb") as file:
            content = file.read(MAX_HEADER_BYTES)
    except OSError:
        return []
    lines = content.decode("latin-1").splitlines()
    return [line.lstrip("# \t").strip() for line in lines if line.lstrip().startswith("#")]


def named(remark: str) -> tuple[str, str]:
    """`Age: 63` as (`age`, `63`); also `<age>: 63`. The name is empty when there is no colon."""
    name, colon, value = remark.partition(":")
    return (name.strip(" <>\t").lower(), value.strip()) if colon else ("", remark)
