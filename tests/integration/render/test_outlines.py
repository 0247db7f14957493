"""Outlines of letters, and what is spelled instead."""

import numpy as np
import pytest

from integration.render.outlines import EM, outlines


def drawn(text, *, bold=False):
    return list(outlines(text, bold=bold))


def same(first, second):
    return len(first) == len(second) and all(map(np.array_equal, first, second))


@pytest.mark.parametrize(("text", "polygons"), [("Л", 1), ("Ф", 3), ("ł", 1), ("Ω", 1), (" ", 0)])
def test_a_letter_is_a_few_closed_polygons(text, polygons):
    made = drawn(text)
    assert len(made) == polygons
    assert all(np.array_equal(polygon[0], polygon[-1]) for polygon in made)
    assert all(-EM / 3 < polygon.min() <= polygon.max() < EM for polygon in made)


def test_letters_stand_side_by_side():
    alone = drawn("И")[0]
    beside = drawn("И И")[1]
    assert np.ptp(alone[:, 0]) < (beside - alone).min(axis=0)[0] < 2 * EM


def test_bold_letters_are_wider():
    assert np.ptp(drawn("И", bold=True)[0][:, 0]) > np.ptp(drawn("И")[0][:, 0])


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("山", r"\u5c71"),  # no glyph
        ("م1", r"\u06451"),  # joins its neighbours, to the left
        ("ש", r"\u05e9"),
        ("И\N{COMBINING DIAERESIS}", r"И\u0308"),  # stands on the letter before
        ("\N{ANATOMICAL HEART}", r"\U0001fac0"),
    ],
)
def test_what_cannot_be_drawn_rightly_is_spelled(text, spelled):
    assert same(drawn(text), drawn(spelled))
