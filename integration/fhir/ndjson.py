"""Resources of bulk export files: newline-delimited JSON, one resource a line.

A file may have any size; a line may not, and one that is too long is passed over, not read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import orjson

from integration.errors import Refused
from integration.fhir.codes import Json
from integration.fhir.gathering import moment
from integration.fhir.parsing import parse_resource
from integration.fhir.whose import OBSERVED_AT

MAX_LINE_BYTES = 16 * 2**20
_BATCH = 100


@dataclass(frozen=True)
class Line:
    """A line of the file.

    Attributes:
        number: from 1; blank lines count, but are not told of.
        raw: its bytes, or the beginning of one that is too long.
        resource: or None where it is refused.
        refused: why: `message-too-large`, or a reason of `parse_resource`.
    """

    number: int
    raw: bytes = field(repr=False)
    resource: Json | None = field(default=None, repr=False)
    refused: Refused | None = None


def lines_of(stream: BinaryIO, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Yield the lines of a file, those that are refused too; each holds its own memory alone.

    Args:
        stream: of bytes, such as an open file.
        max_line_bytes: longer lines are refused.
    """
    number = 0
    while raw := stream.readline(max_line_bytes + 1):
        number += 1
        if len(raw) > max_line_bytes and not raw.endswith(b"\n"):
            beginning = raw[:4096]
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(max_line_bytes)
            detail = f"a line of more than {max_line_bytes} bytes"
            yield Line(number, beginning, refused=Refused("message-too-large", detail))
            continue
        raw = raw.strip()
        if not raw:
            continue
        try:
            yield Line(number, raw, parse_resource(raw))
        except Refused as error:
            yield Line(number, raw, refused=error)


def batches_of(lines: Iterable[Line]) -> Iterator[bytes]:
    """Yield the resources as batch Bundles, and refused lines as they stand there.

    Observations of one patient and time make one ECG and come in one batch.
    """
    batch: list[Json] = []
    for line in lines:
        if line.resource is None:
            yield line.raw
            continue
        if len(batch) >= _BATCH and not _goes_on(batch[-1], line.resource):
            yield _bundle(batch)
            batch = []
        batch.append(line.resource)
    if batch:
        yield _bundle(batch)


def _bundle(resources: list[Json]) -> bytes:
    entries = [
        {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
        for resource in resources
    ]
    return orjson.dumps({"resourceType": "Bundle", "type": "batch", "entry": entries})


def _goes_on(before: Json, after: Json) -> bool:
    """Tell whether two are of one moment; what has no time, such as a Patient, is of none."""
    return any(map(before.get, OBSERVED_AT)) and moment(before) == moment(after)
