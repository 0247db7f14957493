"""The PDF as another program reads it."""

import re
import zlib

import numpy as np
import pytest

from integration.render.page import Sheet
from integration.render.pdf import as_pdf
from integration.render.shapes import Bar, Grid, Text, Trace

SHAPES = (
    Grid(10.0, 10.0, 50, 25),
    Text(12.0, 20.0, 3.0, "a (b) \\ µV ç"),
    Text(12.0, 25.0, 3.0, "bold", bold=True, ink="grey"),
    Bar(1.0, 2.0, 3.0, 4.0),
    Trace(np.array([[1000, 2000], [1100, 1500]], np.int32), 0.25),
)


def contents(pdf):
    streams = re.findall(rb"stream\n(.*?)\nendstream", pdf, re.DOTALL)
    return [zlib.decompress(s) for s in streams]


def test_a_page_a_sheet_in_a4_landscape():
    pdf = as_pdf([Sheet(SHAPES), Sheet(())])
    assert pdf.startswith(b"%PDF-1.7")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert pdf.count(b"/Type /Page/") == 2
    boxes = [list(map(float, b.split())) for b in re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)]
    assert boxes == [pytest.approx([0, 0, 841.89, 595.28], abs=0.01)] * 2


def test_cross_references_point_at_their_objects():
    pdf = as_pdf([Sheet(SHAPES)])
    start = int(re.search(rb"startxref\n(\d+)", pdf)[1])
    assert pdf[start:].startswith(b"xref")
    for line in re.findall(rb"^(\d{10}) \d{5} n", pdf[start:], re.MULTILINE):
        assert re.match(rb"\d+ 0 obj", pdf[int(line) :])


def test_shapes_become_operators():
    (content,) = contents(as_pdf([Sheet(SHAPES)]))
    assert b"1000 2000 m 1100 1500 l S" in content
    assert b"1.00 2.00 3.00 4.00 re f" in content
    assert b"(a \\(b\\) \\\\ \xb5V \xe7) Tj" in content
    assert b"/B 3.0 Tf" in content
    assert content.count(b" l") > 70


def test_same_sheets_same_bytes_and_nothing_about_who_made_it():
    first = as_pdf([Sheet(SHAPES)])
    assert first == as_pdf([Sheet(SHAPES)])
    assert b"/CreationDate" not in first
    assert b"/Author" not in first


def test_a_letter_in_two_code_points_is_one():
    (content,) = contents(as_pdf([Sheet((Text(12.0, 20.0, 3.0, "c\N{COMBINING CEDILLA}"),))]))
    assert b"(\xe7) Tj" in content


@pytest.mark.parametrize("bold", [False, True])
def test_letters_that_readers_have_no_font_for_are_drawn(bold):
    text = Text(12.0, 20.0, 3.0, "Łódź-1", bold=bold, ink="grey")
    (content,) = contents(as_pdf([Sheet((text,))]))
    assert b"Tj" not in content
    assert b"q 0.03000 0 0 -0.03000 12.00 20.00 cm 0.45 g " in content
    points = np.array(re.findall(rb"(-?[\d.]+) (-?[\d.]+) [ml]", content), float) * 0.03
    assert -0.2 < points[:, 0].min() < 1
    assert 9 < points[:, 0].max() < 15
    assert -1 < points[:, 1].min() <= 0.1
    assert 2 < points[:, 1].max() < 3.5
    assert content.count(b" m ") == content.count(b" h")


def test_two_patients_do_not_look_alike():
    first, second = (as_pdf([Sheet((Text(12.0, 20.0, 3.0, t),))]) for t in ("山-1", "田-1"))
    assert first != second
