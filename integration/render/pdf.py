"""Sheets as PDF: vectors, the fonts that every reader has, no metadata that names a patient."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from unicodedata import normalize

import pydyf

from integration.render.outlines import EM, outlines
from integration.render.page import Sheet
from integration.render.shapes import (
    GREYS,
    HEIGHT_MM,
    LARGE_RGB,
    SMALL_RGB,
    WIDTH_MM,
    Bar,
    Grid,
    Shape,
    Text,
    Trace,
)

_POINTS = 72 / 25.4  # of a millimetre
# From here on millimetres from the top left corner, y downwards.
_PAPER = f"{_POINTS:.6f} 0 0 {-_POINTS:.6f} 0 {HEIGHT_MM * _POINTS:.4f} cm 1 j 1 J"
_ESCAPES = str.maketrans({"\\": "\\\\", "(": "\\(", ")": "\\)"})


def as_pdf(sheets: Sequence[Sheet]) -> bytes:
    """Return one document; the same sheets give the same bytes."""
    pdf = pydyf.PDF()
    fonts = pydyf.Dictionary(
        {name: _font(base) for name, base in (("F", "Helvetica"), ("B", "Helvetica-Bold"))}
    )
    for sheet in sheets:
        content = _compressed(b"\n".join([_PAPER.encode(), *map(_drawn, sheet.shapes)]))
        pdf.add_object(content)
        pdf.add_page(
            pydyf.Dictionary(
                {
                    "Type": "/Page",
                    "Parent": pdf.pages.reference,
                    "MediaBox": pydyf.Array([0, 0, WIDTH_MM * _POINTS, HEIGHT_MM * _POINTS]),
                    "Contents": content.reference,
                    "Resources": pydyf.Dictionary({"Font": fonts}),
                }
            )
        )
    file = io.BytesIO()
    pdf.write(file, version=b"1.7", identifier=False)
    return file.getvalue()


def _font(base: str) -> pydyf.Dictionary:
    return pydyf.Dictionary(
        {
            "Type": "/Font",
            "Subtype": "/Type1",
            "BaseFont": f"/{base}",
            "Encoding": "/WinAnsiEncoding",
        }
    )


def _compressed(content: bytes) -> pydyf.Stream:
    # pydyf compresses at level 9: five times the time for a tenth of the size.
    return pydyf.Stream([zlib.compress(content, 1)], {"Filter": "/FlateDecode"})


def _drawn(shape: Shape) -> bytes:
    """Return PDF operators (ISO 32000-1, 8.5 and 9.4)."""
    match shape:
        case Grid():
            return _grid(shape)
        case Trace():
            return _trace(shape)
        case Bar(x, y, width, height, ink):
            return f"{GREYS[ink]} g {x:.2f} {y:.2f} {width:.2f} {height:.2f} re f".encode()
        case Text():
            return _text(shape)


def _trace(trace: Trace) -> bytes:
    """Points are hundredths of a millimetre: whole numbers, under a finer scale."""
    points = iter(map(str, trace.points.ravel().tolist()))
    pairs = [f"{x} {y} l" for x, y in zip(points, points, strict=True)]
    pairs[0] = pairs[0][:-1] + "m"
    head = f"q .01 0 0 .01 0 0 cm {trace.width_mm * 100:g} w {GREYS[trace.ink]} G "
    return (head + " ".join(pairs) + " S Q").encode()


@lru_cache(maxsize=8)
def _grid(grid: Grid) -> bytes:
    """The same on every page of every report."""
    parts = []
    for every, width_mm, rgb in ((1, 0.08, SMALL_RGB), (5, 0.18, LARGE_RGB)):
        lines = [
            f"{grid.x + n} {grid.y} m {grid.x + n} {grid.y + grid.height} l"
            for n in range(0, grid.width + 1, every)
        ] + [
            f"{grid.x} {grid.y + n} m {grid.x + grid.width} {grid.y + n} l"
            for n in range(0, grid.height + 1, every)
        ]
        colour = " ".join(map(str, rgb))
        parts.append(f"{width_mm} w {colour} RG {' '.join(lines)} S")
    return " ".join(parts).encode()


def _text(text: Text) -> bytes:
    # The page is upside down for the letters: the text matrix turns them back.
    shown = normalize("NFC", text.text)
    try:
        encoded = shown.translate(_ESCAPES).encode("cp1252")
    except UnicodeEncodeError:
        return _outlined(replace(text, text=shown))
    font = "B" if text.bold else "F"
    place = f"1 0 0 -1 {text.x:.2f} {text.y:.2f} Tm"
    head = f"BT {GREYS[text.ink]} g /{font} {text.size_mm} Tf {place} ("
    return head.encode() + encoded + b") Tj ET"


def _outlined(text: Text) -> bytes:
    """Fill the letters' outlines: readers bring fonts of Western European letters only."""
    scale = text.size_mm / EM
    parts = [
        " l ".join(f"{x:.1f} {y:.1f}" for x, y in polygon).replace("l", "m", 1) + " l h"
        for polygon in outlines(text.text, bold=text.bold)
    ]
    place = f"q {scale:.5f} 0 0 {-scale:.5f} {text.x:.2f} {text.y:.2f} cm {GREYS[text.ink]} g"
    return f"{place} {' '.join(parts)} f Q".encode()
