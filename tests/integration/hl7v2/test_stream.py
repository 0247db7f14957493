import io

import pytest

from integration.errors import Refused
from integration.hl7v2 import stream
from integration.hl7v2.stream import is_hl7, messages_in

ONE = b"MSH|^~\\&|A|B\rPID|||1\rNTE|||MSH comes up in a text\r"
TWO = b"MSH#^~\\&#A#B\rPID###2\r"


@pytest.fixture(params=[7, 2**20])
def blocks(request, monkeypatch):
    monkeypatch.setattr(stream, "_BLOCK", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(
    "content",
    [
        ONE + TWO,
        b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r",
        b"\xef\xbb\xbf" + ONE + b"\r\n\r\n" + TWO + b"\n",
    ],
)
def test_messages_come_one_by_one(content):
    assert list(messages_in(io.BytesIO(content), 1000)) == [ONE, TWO]


@pytest.mark.usefixtures("blocks")
def test_lines_may_end_otherwise():
    lines = ONE.replace(b"\r", b"\n")
    found = list(messages_in(io.BytesIO(lines + lines), 1000))
    assert [message.replace(b"\n", b"\r") for message in found] == [ONE, ONE]


def test_a_batch_stays_whole():
    batch = b"BHS|^~\\&|A\r" + ONE + ONE + b"BTS|2\r"
    assert list(messages_in(io.BytesIO(batch), 1000)) == [batch.rstrip(b"\r")]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("last", ["v\u00fb", "\u00ff", "\u56ff"])
def test_the_last_letter_is_no_byte_order_mark(last):
    message = f"MSH|^~\\&|A|B\rNTE|1||{last}\r".encode()
    assert list(messages_in(io.BytesIO(message + message), 1000)) == [message, message]
    batch = b"BHS|^~\\&|A\r" + message.rstrip(b"\r")
    assert list(messages_in(io.BytesIO(batch + b"\r"), 1000)) == [batch]


def test_a_line_of_base64_begins_no_message():
    message = ONE + b"".join(b"MSH%cAAAA\r" % other for other in b"a9+/=")
    assert list(messages_in(io.BytesIO(message + ONE), 1000)) == [message, ONE]


@pytest.mark.parametrize("begin", [b"MSH|", b"FHS|"])
def test_what_does_not_end_is_refused(begin, monkeypatch):
    monkeypatch.setattr(stream, "_BLOCK", 64)
    with pytest.raises(Refused) as caught:
        list(messages_in(io.BytesIO(begin + b"x" * 2000), 1000))
    assert caught.value.reason == "message-too-large"


def test_what_is_hl7():
    assert [is_hl7(b) for b in (ONE, b"\r\n\x0bFHS|", b"BHS|")] == [True] * 3
    assert not is_hl7(b'{"resourceType": "Bundle"}')
