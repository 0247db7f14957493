"""Letters as outlines, for a format whose readers bring too few of them: Greek, Cyrillic, Polish.

The font is the one that matplotlib brings. What it lacks, and scripts whose letters change with
their neighbours or run to the left, are spelled as code points: two patients never look alike.
"""

from collections.abc import Iterator
from pathlib import Path
from unicodedata import bidirectional, combining

import numpy as np
from numpy.typing import NDArray

EM = 100  # units of the outlines to the height of the font


def outlines(text: str, *, bold: bool) -> Iterator[NDArray[np.float64]]:
    """Yield closed polygons `(n, 2)`; x from the first letter on, y upwards from its baseline."""
    # Imported here: half a second that no page in Latin letters waits for.
    from matplotlib import get_data_path  # noqa: PLC0415
    from matplotlib.ft2font import FT2Font, LoadFlags  # noqa: PLC0415
    from matplotlib.path import Path as Outline  # noqa: PLC0415

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = FT2Font(Path(get_data_path(), "fonts", "ttf", name))  # its own: threads share none
    font.set_size(EM, 72)
    shown = (c if _drawable(c, font.get_char_index(ord(c))) else _spelled(c) for c in text)
    x = 0.0
    for letter in "".join(shown):
        glyph = font.load_char(ord(letter), flags=LoadFlags.NO_HINTING)
        for polygon in Outline(*font.get_path()).to_polygons():
            yield np.add(polygon, (x, 0.0))
        x += glyph.linearHoriAdvance / 65536  # 16.16 fixed point


def _drawable(letter: str, index: int) -> bool:
    return index != 0 and not combining(letter) and bidirectional(letter) not in {"R", "AL"}


def _spelled(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
