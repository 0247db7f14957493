import pytest

from integration.errors import Refused
from integration.hl7v2.header import Delimiters, parse_header

FULL = (
    b"MSH|^~\\&|CART^1.2.3^ISO|WARD|HIS|HOSP|20260102030405+0100||oru^r01^ORU_R01|C1|P^T|2.5.1^DEU"
    b"|||AL|NE||UNICODE UTF-8~8859/1"
)


def refused(raw):
    with pytest.raises(Refused) as caught:
        parse_header(raw)
    return caught.value.reason


def test_every_field_is_read():
    header = parse_header(FULL + b"\rPID|1\r")
    assert header.delimiters == Delimiters()
    assert header.codec == "utf-8"
    assert header.sending_application == "CART^1.2.3^ISO"
    assert header.sending_facility == "WARD"
    assert header.receiving_application == "HIS"
    assert header.receiving_facility == "HOSP"
    assert header.sent_at == "20260102030405+0100"
    assert (header.message_type, header.trigger) == ("ORU", "R01")
    assert (header.control_id, header.processing_id, header.version) == ("C1", "P^T", "2.5.1")
    assert (header.accept_ack, header.application_ack) == ("AL", "NE")
    assert header.charsets == ("UNICODE UTF-8", "8859/1")
    assert header.answer_charset == "UNICODE UTF-8"
    assert header.sender == "CART^WARD"


def test_a_short_header_has_empty_fields():
    header = parse_header(b"MSH|^~\\&|")
    assert (header.control_id, header.message_type, header.version) == ("", "", "")
    assert header.sender == "^"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b""])
@pytest.mark.parametrize("lead_in", [b"", b"\xef\xbb\xbf", b"\r\n ", b"\xef\xbb\xbf\n"])
def test_line_ends_and_what_comes_before(lead_in, end):
    assert parse_header(lead_in + FULL + end).control_id == "C1"


@pytest.mark.parametrize(
    ("start", "delimiters"),
    [
        (b"MSH|^~\\&|", Delimiters()),
        (b"MSH|^~\\&#|", Delimiters(truncation=b"#")),
        (b"MSH$%*!/$", Delimiters(b"$", b"%", b"*", b"!", b"/")),
        (b"MSH|^~|", Delimiters(escape=b"", subcomponent=b"")),
    ],
)
def test_delimiters_are_the_senders_own(start, delimiters):
    header = parse_header(start + start[3:4].join([b"A", b"B"]))
    assert header.delimiters == delimiters
    assert header.delimiters.encoding_characters == start[4:-1]
    assert (header.sending_application, header.sending_facility) == ("A", "B")


@pytest.mark.parametrize(
    ("application", "sender"),
    [("A", "A^W"), ("^00A037^EUI-64", "00A037^W"), ("", "^W")],
)
def test_the_sender_is_the_first_component_that_says_something(application, sender):
    assert parse_header(f"MSH|^~\\&|{application}|W".encode()).sender == sender


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "msh-missing"),
        (b"PID|1\rMSH|^~\\&|", "msh-missing"),
        (b"msh|^~\\&|", "msh-missing"),
        (b"\x00\x01\x02", "msh-missing"),
        (b"FHS|^~\\&|", "batch-unsupported"),
        (b"BHS|^~\\&|", "batch-unsupported"),
        (b"MSH", "msh-malformed"),
        (b"MSH|", "msh-malformed"),
        (b"MSH||A|B", "msh-malformed"),
        (b"MSH|^^\\&|A", "msh-malformed"),
        (b"MSH|ab\\&|A", "msh-malformed"),
        (b"MSH|^~\\&+|A", "msh-malformed"),
        (b"MSH|^~-&|A", "msh-malformed"),
        (b"MSH|^~\\&##|A", "msh-malformed"),
        (b"MSH|^~\\&|A\x1c|B", "msh-malformed"),
        (FULL.replace(b"C1", b"C" * 200), "msh-malformed"),
    ],
)
def test_what_is_no_header(raw, reason):
    assert refused(raw) == reason


@pytest.mark.parametrize(
    ("name", "charset", "default", "expected", "codec"),
    [
        ("Käfer".encode(), "UNICODE UTF-8", "ascii", "Käfer", "utf-8"),
        (b"K\xe4fer", "8859/1", "ascii", "Käfer", "iso8859-1"),
        (b"K\xe4fer", "", "iso8859-15", "Käfer", "iso8859-15"),
        (b"K\xe4fer", "UNICODE UTF-8", "ascii", "Käfer", "latin-1"),
        (b"K\xe4fer", "KLINGON", "ascii", "Käfer", "latin-1"),
    ],
)
def test_a_header_is_read_for_its_answer_whatever_its_bytes(
    name, charset, default, expected, codec
):
    raw = b"MSH|^~\\&|" + name + b"|||||||||||||||" + charset.encode()
    header = parse_header(raw, default)
    assert (header.sending_application, header.codec) == (expected, codec)
    assert header.sending_application.encode(header.codec) == name
    assert header.answer_charset == ("" if charset == "KLINGON" else charset)


def test_a_byte_order_mark_says_utf_8_where_the_header_does_not():
    assert parse_header(b"\xef\xbb\xbf" + "MSH|^~\\&|Käfer".encode()).codec == "utf-8"
