"""Which answers a message gets."""

import pytest

from integration.hl7v2.framing import Framer, frame
from integration.hl7v2.header import parse_header
from integration.hl7v2.modes import BETWEEN_ANSWERS, AckMode, answers


def header(accept="", application=""):
    msh = f"MSH|^~\\&|A|B|C|D|20260102||ORU^R01|C1|P|2.5.1|||{accept}|{application}"
    return parse_header(msh.encode())


@pytest.mark.parametrize(
    ("accept", "application", "outcome", "expected"),
    [
        # original mode
        ("", "", "AA", "AA"),
        ("", "", "AR", "AR"),
        ("", "", "AE", "AE"),
        # commit only
        ("AL", "NE", "AA", "CA"),
        ("AL", "", "AA", "CA"),
        ("AL", "NE", "AR", "CR"),
        ("AL", "NE", "AE", "CE"),
        # both
        ("AL", "AL", "AA", "CA AA"),
        ("AL", "AL", "AR", "CA AR"),
        ("AL", "AL", "AE", "CA AE"),
        # the application's word alone
        ("NE", "AL", "AA", "AA"),
        ("NE", "AL", "AR", "AR"),
        # only bad news, only good news
        ("ER", "NE", "AA", ""),
        ("ER", "NE", "AR", "CR"),
        ("AL", "ER", "AA", "CA"),
        ("AL", "ER", "AR", "CA AR"),
        ("SU", "SU", "AA", "CA AA"),
        ("SU", "SU", "AR", ""),
        # none at all
        ("NE", "NE", "AA", ""),
        ("NE", "NE", "AR", ""),
        # only MSH-16: the accept level is asked for unless it is declined
        ("", "AL", "AA", "CA AA"),
        # lower case, and what the table does not list
        ("al", "ne", "AA", "CA"),
        ("XX", "NE", "AA", "CA"),
    ],
)
def test_as_the_message_asks(accept, application, outcome, expected):
    assert " ".join(answers(header(accept, application), outcome)) == expected


@pytest.mark.parametrize(
    ("accept", "outcome", "expected"), [("AL", "AE", "CE"), ("NE", "AE", ""), ("", "AE", "CE")]
)
def test_what_is_not_stored_is_never_called_accepted(accept, outcome, expected):
    assert " ".join(answers(header(accept, "AL"), outcome, stored=False)) == expected


def test_original_mode_whatever_the_message_says():
    assert answers(header("AL", "AL"), "AA", AckMode.ORIGINAL) == ("AA",)


def test_enhanced_mode_although_the_message_says_nothing():
    assert answers(header(), "AA", AckMode.ENHANCED) == ("CA",)
    assert answers(header("NE", "AL"), "AA", AckMode.ENHANCED) == ("AA",)


def test_without_a_header_there_is_one_answer():
    assert answers(None, "AR", AckMode.ENHANCED) == ("AR",)


def test_several_answers_frame_themselves_apart():
    received = Framer(100).feed(frame(b"one" + BETWEEN_ANSWERS + b"two"))
    assert [block.payload for block in received] == [b"one", b"two"]
