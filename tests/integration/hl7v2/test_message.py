import pytest

from integration.errors import Refused
from integration.hl7v2.header import parse_header
from integration.hl7v2.message import Message, part

HEADER = b"MSH|^~\\&|A|B|C|D|||ADT^A01|1|P|2.5"


def message(body, header=HEADER):
    raw = header + body
    return Message(raw, parse_header(raw), "ascii")


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_segments_whatever_separates_them(end):
    body = end.join([b"", b"PID|1|x", b"", b" ", b"OBX|1", b"OBX|2|y", b""])
    segments = list(message(body).segments())
    assert [(s.name, s.ordinal) for s in segments] == [("PID", 1), ("OBX", 1), ("OBX", 2)]
    assert segments[0].field(2) == b"x"
    assert segments[0].field(7) == b""
    assert segments[2].at(5) == ("OBX", 2, 5)


@pytest.mark.parametrize("line", [b"obx|1", b"1^2^3", b"PIDX|1", b"\xc3\xa4", b"|", b"P D|1"])
def test_a_line_that_is_no_segment_has_no_name(line):
    header = HEADER + b"||||||UNICODE UTF-8"
    assert [s.name for s in message(b"\r" + line, header).segments()] == [""]


def test_null_is_nothing():
    segment = next(message(b'\rPID|1|""|x').segments())
    assert (segment.field(2), segment.field(3)) == (b"", b"x")
    assert message(b"").text(b'""') == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b" plain ", "plain"),
        (b"a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        (b"\\H\\bold\\N\\", "\\H\\bold\\N\\"),
        (b"\\E\\F\\E\\", "\\F\\"),
        (b"tail\\", "tail\\"),
        (b"one\\.br\\two\\.sp3\\three", "one\ntwo\nthree"),
        (b"\\X41426a\\\\X4\\", "ABj\\X4\\"),
        (b"\\Zx\\ \\.in+4\\", "\\Zx\\ \\.in+4\\"),
    ],
)
def test_escapes(value, text):
    assert message(b"").text(value) == text


def test_escapes_use_the_messages_own_characters():
    own = message(b"", b"MSH$%*!/$A")
    assert own.text(b"a!F!b!S!c\\F\\") == "a$b%c\\F\\"
    assert message(b"", b"MSH|^~|A").text(b"a\\F\\b") == "a\\F\\b"


def test_escaped_bytes_belong_to_the_character_set():
    own = message(b"", HEADER + b"||||||8859/1")
    assert own.text(b"K\\XE4\\fer") == "K\u00e4fer"
    own = message(b"", HEADER + b"||||||UNICODE UTF-8")
    for escaped in (b"\\XC3A9\\", b"\\XC3\\\\XA9\\"):
        assert own.text(b"pr" + escaped + b"sent\\F\\") == "pr\u00e9sent|"
    with pytest.raises(Refused, match="charset-undecodable"):
        message(b"").text(b"\\XE4\\")


def test_components_are_those_of_the_first_repetition():
    assert message(b"").components(b"a^ b ^\\S\\~c^d") == ["a", "b", "^"]
    assert message(b"").subcomponents(b"5&WAV") == ["5", "WAV"]
    assert message(b"", b"MSH|^~|A").subcomponents(b"5&WAV") == ["5&WAV"]


def test_a_part_that_is_absent_is_empty():
    assert [part(["a", "b"], n) for n in (1, 2, 3)] == ["a", "b", ""]


def test_bytes_outside_the_character_set():
    with pytest.raises(Refused, match="charset-undecodable: byte 39"):
        message(b"\rPID|\xe4")
    with pytest.raises(Refused, match="charset-unsupported"):
        message(b"", HEADER + b"||||||KLINGON")


@pytest.mark.parametrize(
    ("charset", "value"), [(b"UNICODE UTF-8", "Käfer".encode()), (b"8859/1", b"K\xe4fer")]
)
def test_texts_are_decoded(charset, value):
    assert message(b"", HEADER + b"||||||" + charset).text(value) == "Käfer"


def test_a_byte_order_mark_is_no_content():
    raw = b"\xef\xbb\xbf" + HEADER + "\rPID|Käfer".encode()
    own = Message(raw, parse_header(raw), "ascii")
    assert [own.text(s.field(1)) for s in own.segments()] == ["Käfer"]
