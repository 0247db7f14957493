"""The SVG as a browser reads it."""

from xml.etree import ElementTree as ET

import numpy as np

from integration.render.page import Sheet
from integration.render.shapes import Bar, Grid, Text, Trace
from integration.render.svg import as_svg

SVG = "{http://www.w3.org/2000/svg}"
SHEET = Sheet(
    (
        Grid(10.0, 10.0, 10, 5),
        Text(12.0, 20.0, 3.0, "<script>&\x00", bold=True),
        Bar(1.0, 2.0, 3.0, 4.0, "grey"),
        Trace(np.array([[1000, 2000], [1100, 1500]], np.int32)),
    )
)


def test_it_is_well_formed_and_true_to_scale():
    root = ET.fromstring(as_svg(SHEET))  # noqa: S314
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == (
        "297mm",
        "210mm",
        "0 0 297 210",
    )


def test_every_shape_is_there():
    root = ET.fromstring(as_svg(SHEET))  # noqa: S314
    (text,) = root.iter(f"{SVG}text")
    assert text.text == "<script>& "
    assert text.get("font-weight") == "bold"
    (line,) = root.iter(f"{SVG}polyline")
    assert line.get("points") == "1000,2000 1100,1500"
    small, large = root.iter(f"{SVG}path")
    assert small.get("d").count("M") == 11 + 6
    assert large.get("d").count("M") == 3 + 2
    assert len(list(root.iter(f"{SVG}rect"))) == 2


def test_nothing_in_it_runs_or_loads():
    said = as_svg(SHEET).lower()
    assert "<script" not in said
    assert "href" not in said
