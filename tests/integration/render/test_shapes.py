"""Inks are dark enough to print, the paper light enough to copy."""

from integration.render.shapes import GREYS, HEIGHT_MM, LARGE_RGB, SMALL_RGB, WIDTH_MM


def test_a4_landscape():
    assert (WIDTH_MM, HEIGHT_MM) == (297.0, 210.0)


def test_inks_stand_out_from_the_grid():
    assert max(GREYS.values()) < min(sum(rgb) / 3 for rgb in (SMALL_RGB, LARGE_RGB)) - 0.2
