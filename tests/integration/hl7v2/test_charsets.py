import pytest

from integration.errors import Refused, answer_to
from integration.hl7v2.charsets import codec_for, decoded, is_wide, narrow, readable
from integration.hl7v2.decode import decode
from integration.hl7v2.header import parse_header
from integration.hl7v2.message import Message
from tests.hl7_messages import MSH, twelve, wcm

# Characters whose bytes hold | ^ & ~ or \ in the set named: cut before decoding, all would break.
TREACHEROUS = {
    "GB 18030-2000": ("gb18030", "\u4e57\u4e5b\u4e85\u4fd3"),
    "BIG-5": ("big5", "\u529f\u8a31\u84cb\u56dd"),
    "ISO IR87": ("iso2022_jp_ext", "\u65e5\u672c\u8a9e"),
    "SHIFT-JIS": ("cp932", "\u8868\u4e88\u5341\u30bd"),
}


KAEFER = "K\u00e4fer"


def header(charset, application="A"):
    return f"MSH|^~\\&|{application}|W|H|H|20260102||ORU^R01|C1|P|2.6||||||{charset}"


def fields(raw, default="ascii"):
    message = Message(raw, parse_header(raw, default), default)
    (segment,) = message.segments()
    return [message.text(field) for field in segment.fields]


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("", "ascii"),
        ("ASCII", "ascii"),
        ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("UNICODE", "utf-8"),
        *((f"8859/{part}", f"iso8859-{part}") for part in (*range(1, 10), 15)),
        ("ISO-8859-1", "iso8859-1"),
        ("ISO IR100", "iso8859-1"),
        ("WINDOWS-1252", "cp1252"),
        ("GB 18030-2000", "gb18030"),
        ("BIG-5", "big5"),
        ("KS X 1001", "cp949"),
        ("ISO IR14", "iso2022_jp_ext"),
        ("ISO IR87", "iso2022_jp_ext"),
        ("ISO IR159", "iso2022_jp_ext"),
    ],
)
def test_names_of_table_0211(charset, codec):
    assert codec_for(charset, "ascii") == codec


@pytest.mark.parametrize("charset", ["8859/12", "8859/99", "x", "CNS 11643-1992", "KLINGON"])
def test_names_that_are_not_known(charset):
    with pytest.raises(Refused, match="charset-unsupported") as caught:
        codec_for(charset, "ascii")
    assert caught.value.location == ("MSH", 1, 18)


@pytest.mark.parametrize("charset", TREACHEROUS)
def test_half_a_character_is_no_delimiter(charset):
    codec, name = TREACHEROUS[charset]
    encoded = name.encode(codec)
    assert set(encoded) & set(b"|^~\\&"), "this test would prove nothing"
    raw = f"{header(charset)}\rPID|1||4711^^^H||{name}^{name}|x\r".encode(codec)
    assert fields(raw)[5:] == [f"{name}^{name}", "x"]


@pytest.mark.parametrize("charset", TREACHEROUS)
def test_half_a_character_in_the_header_hides_no_character_set(charset):
    codec, name = TREACHEROUS[charset]
    found = parse_header(header(charset, application=name).encode(codec))
    assert (found.sending_application, found.codec) == (name, codec)
    assert (found.control_id, found.charsets, found.answer_charset) == ("C1", (charset,), charset)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("charset", ["UNICODE", "UNICODE UTF-16", "", "8859/1"])
def test_utf_16_is_known_by_its_bytes(charset, codec):
    raw = f"{header(charset, KAEFER)}\rPID|\u65e5|K\u00e4fer|\r".encode(codec)
    assert fields(raw) == ["PID", "\u65e5", "K\u00e4fer", ""]
    found = parse_header(raw)
    assert (found.sending_application, found.answer_charset) == ("K\u00e4fer", "UNICODE UTF-8")


def test_a_wide_message_that_breaks_off_in_a_character():
    raw = f"{header('UNICODE')}\r".encode("utf-16") + b"x"
    with pytest.raises(Refused, match="charset-undecodable"):
        parse_header(raw)


def test_unicode_in_single_bytes_is_utf_8_or_refused():
    assert fields(f"{header('UNICODE')}\rPID|K\u00e4fer".encode()) == ["PID", "K\u00e4fer"]
    with pytest.raises(Refused, match="charset-undecodable"):
        fields(f"{header('UNICODE')}\rPID|K\u00e4fer".encode("latin-1"))


@pytest.mark.parametrize(
    ("charset", "value", "text"),
    [
        ("ASCII~ISO IR87", b"\\M2442\\F|K\\\\C2842\\ TARO", "\u65e5\u672c TARO"),
        ("ASCII~ISO IR87", b"\\M2442\\F|", "\u65e5"),
        ("ASCII~ISO IR159", b"\\M242844\\0!\\C2842\\x", "\u4e02x"),
        ("ASCII~ISO IR14", b"\\C284A\\~\\C2842\\a", "\u203ea"),
        ("ASCII~ISO IR14", b"\\C2949\\\xb1\xb2\\C2842\\a", "\uff71\uff72a"),
        ("ASCII~KS X 1001", b"\\M242943\\\xb0\xa1\\C2842\\a", "\uac00a"),
        ("ASCII~8859/5", b"\\C2D4C\\\xb8\\C2842\\a", "\u0418a"),
        ("8859/1~8859/7", b"K\xe4fer \\c2d46\\\xe1", "K\u00e4fer \u03b1"),
        ("UNICODE UTF-8~8859/15", b"\xc3\xa4\\C2D62\\\xa4", "\u00e4\u20ac"),
    ],
)
def test_a_text_may_switch(charset, value, text):
    raw = header(charset).encode() + b"\rPID|" + value + b"\rNTE|\xc3\xa4"[:5]
    message = Message(raw, parse_header(raw), "ascii")
    pid, nte = message.segments()
    assert message.text(b"|".join(pid.fields[1:])) == text
    assert nte.name == "NTE"


def test_a_switch_ends_with_its_segment():
    raw = header("8859/1~8859/7").encode() + b"\rPID|\\C2D46\\\xe1\rNTE|\xe1"
    message = Message(raw, parse_header(raw), "ascii")
    assert [message.text(s.field(1)) for s in message.segments()] == ["\u03b1", "\u00e1"]


def test_what_is_no_switch_stays_as_it_is():
    raw = header("ASCII").encode() + b"\rPID|\\C9999\\\\M\\\\C28\\"
    assert fields(raw) == ["PID", "\\C9999\\\\M\\\\C28\\"]
    no_escape = b"MSH|^~|A|||||||C1\rPID|\\C2D46\\a"
    assert fields(no_escape) == ["PID", "\\C2D46\\a"]


def test_escape_sequences_of_iso_2022_as_they_are():
    name = "\u5c71\u7530"
    raw = f"{header('~ISO IR87')}|||ISO 2022-1994\rPID|{name}|x".encode("iso2022_jp")
    assert fields(raw) == ["PID", name, "x"]
    kana = header("~ISO IR14").encode() + b"\rPID|\xd4\xcf|\x1b$B;3\x1b(B"
    assert fields(kana) == ["PID", "\uff94\uff8f", "\u5c71"]


@pytest.mark.parametrize(
    ("raw", "location"),
    [
        (header("ASCII").encode() + b"\rPID|1\rPID|2|a\xe4", ("PID", 2, 2)),
        (header("UNICODE UTF-8").encode() + b"\nOBX|a^\xe4b|c", ("OBX", 1, 1)),
        (header("GB 18030-2000").encode() + b"\rPID|\xff", ("PID", 1, 1)),
        (header("BIG-5").encode() + b"\rPID|\xff\xff", ("PID", 1, 1)),
        (header("ISO IR87").encode() + b"\rPID|\xe9", ("PID", 1, 1)),
        (header("KS X 1001").encode() + b"\rPID|\xff", ("PID", 1, 1)),
        (header("ASCII", "K\xe4fer").encode(), ("MSH", 1, 3)),
        (header("ASCII~ISO IR87").encode() + b"\rPID|\\M2442\\!\\C2842\\", ()),
    ],
)
def test_bytes_outside_the_set_are_told_with_their_place(raw, location):
    with pytest.raises(Refused) as caught:
        fields(raw)
    assert (caught.value.reason, caught.value.location) == ("charset-undecodable", location)
    assert answer_to(caught.value.reason).ack == "AE"


def test_a_set_to_switch_to_that_is_not_known():
    with pytest.raises(Refused, match="charset-unsupported"):
        readable(b"MSH|^~\\&|\x1b", ["ASCII", "KLINGON"], "ascii", b"\\")


def test_what_comes_before_the_header():
    assert narrow(b"\xef\xbb\xbf\r\n MSH|") == b"MSH|"
    assert narrow("\ufeff\r\nMSH|".encode("utf-16-le")) == b"MSH|"
    assert not is_wide(b"MSH|")
    assert decoded(b"\xb1", "iso2022_jp_ext") == "\uff71"


@pytest.mark.parametrize("codec", ["gb18030", "big5", "iso2022_jp_ext", "utf-16"])
def test_an_ecg_in_any_set_is_the_same_ecg(codec):
    charset = {"gb18030": "GB 18030-2000", "big5": "BIG-5", "utf-16": "UNICODE"}.get(
        codec, "ISO IR87"
    )
    msh = f"{MSH}||||||{charset}"
    pid = "PID|1||4711^^^HOSP^MR||\u5c71\u7530"
    raw = wcm(*twelve(), msh=msh, pid=pid).decode().encode(codec)
    (exam,) = decode(raw).exams
    assert exam.ecg.n_samples == 3
    assert exam.patient.identifier == "4711"
