"""What a page is made of: a few shapes in millimetres from the top left corner. No format here."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

WIDTH_MM, HEIGHT_MM = 297.0, 210.0  # ISO 216 A4, landscape
GREYS = {"black": 0.0, "grey": 0.45}  # all that is not the grid is readable on any printer
Ink = Literal["black", "grey"]
SMALL_RGB, LARGE_RGB = (0.98, 0.85, 0.85), (0.93, 0.66, 0.66)  # light enough for a photocopy


@dataclass(frozen=True)
class Text:
    """One line; `size_mm` is the height of the font, `x` and `y` where its baseline begins."""

    x: float
    y: float
    size_mm: float
    text: str
    bold: bool = False
    ink: Ink = "black"


@dataclass(frozen=True)
class Trace:
    """A line through points `(n, 2)` in hundredths of a millimetre."""

    points: NDArray[np.int32] = field(repr=False)
    width_mm: float = 0.25
    ink: Ink = "black"


@dataclass(frozen=True)
class Bar:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    ink: Ink = "black"


@dataclass(frozen=True)
class Grid:
    """ECG paper: a line a millimetre, a stronger one every five."""

    x: float
    y: float
    width: int
    height: int


Shape = Text | Trace | Bar | Grid
