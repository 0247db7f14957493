"""A sheet as SVG, for screens: the same shapes, in millimetres."""

from xml.sax.saxutils import escape

from integration.render.page import Sheet
from integration.render.shapes import (
    GREYS,
    HEIGHT_MM,
    LARGE_RGB,
    SMALL_RGB,
    WIDTH_MM,
    Bar,
    Grid,
    Ink,
    Shape,
    Text,
    Trace,
)

_CONTROL = dict.fromkeys(range(32), " ")


def as_svg(sheet: Sheet) -> str:
    """Return a document without scripts, styles or links."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM:g}mm" height="{HEIGHT_MM:g}mm" '
        f'viewBox="0 0 {WIDTH_MM:g} {HEIGHT_MM:g}" font-family="Helvetica, Arial, sans-serif">'
    )
    white = f'<rect width="{WIDTH_MM:g}" height="{HEIGHT_MM:g}" fill="white"/>'
    return "\n".join([head, white, *map(_drawn, sheet.shapes), "</svg>\n"])


def _drawn(shape: Shape) -> str:
    match shape:
        case Grid():
            return _grid(shape)
        case Trace(points, width_mm, ink):
            path = " ".join(f"{x},{y}" for x, y in points.tolist())
            return (
                f'<polyline transform="scale(.01)" points="{path}" fill="none" '
                f'stroke="{_colour(ink)}" stroke-width="{width_mm * 100:g}" '
                'stroke-linejoin="round"/>'
            )
        case Bar(x, y, width, height, ink):
            return (
                f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
                f'fill="{_colour(ink)}"/>'
            )
        case Text():
            return _text(shape)


def _text(text: Text) -> str:
    weight = ' font-weight="bold"' if text.bold else ""
    return (
        f'<text x="{text.x:.2f}" y="{text.y:.2f}" font-size="{text.size_mm}"{weight} '
        f'fill="{_colour(text.ink)}" xml:space="preserve">'
        f"{escape(text.text.translate(_CONTROL))}</text>"
    )


def _grid(grid: Grid) -> str:
    parts = []
    for every, width_mm, rgb in ((1, 0.08, SMALL_RGB), (5, 0.18, LARGE_RGB)):
        lines = [
            f"M{grid.x + n} {grid.y}v{grid.height}" for n in range(0, grid.width + 1, every)
        ] + [f"M{grid.x} {grid.y + n}h{grid.width}" for n in range(0, grid.height + 1, every)]
        colour = ",".join(f"{round(255 * part)}" for part in rgb)
        parts.append(
            f'<path d="{"".join(lines)}" stroke="rgb({colour})" stroke-width="{width_mm}"/>'
        )
    return "".join(parts)


def _colour(ink: Ink) -> str:
    level = round(255 * GREYS[ink])
    return f"rgb({level},{level},{level})"
