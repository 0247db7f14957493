import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.hl7v2.framing import KEPT_JUNK_BYTES, Frame, Framer, Junk, frame

MSG = b"MSH|^~\\&|A|B\rPID|1\r"


def received(data, *, max_bytes=1000, settle=False):
    framer = Framer(max_bytes)
    out = list(framer.feed(data))
    return out + list(framer.settle()) if settle else out


def closed(data, *, max_bytes=1000):
    framer = Framer(max_bytes)
    return [*framer.feed(data), *framer.close()]


def junk(data, reason, detail, kept=None):
    return Junk(
        data if kept is None else kept, reason, detail, len(data), hashlib.sha256(data).hexdigest()
    )


STRAY = "bytes outside a block"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x0bA\x1c\r", [Frame(b"A")]),
        (b"\x0bA\x1c\r\x0bB\x1c\r", [Frame(b"A"), Frame(b"B")]),
        (b"\r\n\x0bA\x1c\r\n\n\x0bB\x1c\r\r\n", [Frame(b"A"), Frame(b"B")]),
        (b"\x0bA\x1c\x0bB\x1c\r", [Frame(b"A"), Frame(b"B")]),
        (b"\x0b\x1c\r", [Frame(b"")]),
        (b"\x0bA\rB\r\x1c\r", [Frame(b"A\rB\r")]),
        (b"noise\x0bA\x1c\r", [junk(b"noise", "framing-invalid", STRAY), Frame(b"A")]),
        (b"A\x1c\r\x0bB\x1c\r", [junk(b"A\x1c", "framing-invalid", STRAY), Frame(b"B")]),
        (b"\x1c\r", [junk(b"\x1c", "framing-invalid", STRAY)]),
        (
            b"\x0bA\x0bB\x1c\r",
            [junk(b"A", "framing-invalid", "a block that did not end"), Frame(b"B")],
        ),
        (
            b"\x0bA\x1cB\x1c\r\x0bC\x1c\r",
            [junk(b"A\x1cB\x1c", "framing-invalid", "FS inside a block"), Frame(b"C")],
        ),
        (
            b"\x0bA\x1c\x1c\r\x0bC\x1c\r",
            [junk(b"A\x1c\x1c", "framing-invalid", "FS inside a block"), Frame(b"C")],
        ),
        (b"\x0bA", []),
        (b"\x0bA\x1c", []),
        (b"", []),
    ],
)
def test_what_a_stream_holds(data, expected):
    assert received(data) == expected


def test_a_frame_without_cr_is_whole_once_the_sender_is_quiet():
    assert received(b"\x0bA\x1c", settle=True) == [Frame(b"A")]
    assert received(b"\x0bA", settle=True) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x0bA", [junk(b"A", "framing-invalid", "a block that did not end")]),
        (b"\x0bA\x1c", [Frame(b"A")]),
        (b"GET / HTTP/1.1\r\n", [junk(b"GET / HTTP/1.1\r\n", "framing-invalid", STRAY)]),
        (b"\x0bA\x1c\r\r\n", [Frame(b"A")]),
    ],
)
def test_what_is_left_at_the_end_of_a_connection(data, expected):
    assert closed(data) == expected


def test_the_largest_message_passes_and_one_byte_more_does_not():
    assert received(frame(b"x" * 1000)) == [Frame(b"x" * 1000)]
    too_large = b"x" * 1001
    assert received(frame(too_large) + frame(MSG)) == [
        junk(too_large, "message-too-large", "more than 1000 bytes"),
        Frame(MSG),
    ]


def test_an_oversized_frame_is_counted_and_hashed_but_not_held():
    chunk, framer, out = bytes(range(32, 96)) * 1024, Framer(1_000_000), []
    out += framer.feed(b"\x0b")
    for _ in range(640):
        out += framer.feed(chunk)
    held = len(framer._pending.kept)
    out += framer.feed(b"\x1c\r")
    expected = junk(
        chunk * 640, "message-too-large", "more than 1000000 bytes", (chunk * 640)[:KEPT_JUNK_BYTES]
    )
    assert held == KEPT_JUNK_BYTES
    assert out == [expected]


def test_endless_noise_is_not_held_either():
    framer = Framer(1_000_000)
    for _ in range(100):
        assert list(framer.feed(b"n" * KEPT_JUNK_BYTES)) == []
    assert len(framer._pending.kept) == KEPT_JUNK_BYTES
    assert [j.size for j in framer.close()] == [100 * KEPT_JUNK_BYTES]


def test_ending_tells_that_only_the_cr_is_missing():
    framer = Framer(100)
    assert list(framer.feed(b"\x0bA")) == []
    assert not framer.ending
    assert list(framer.feed(b"\x1c")) == []
    assert framer.ending
    assert list(framer.feed(b"\r")) == [Frame(b"A")]
    assert not framer.ending


def fed_in_pieces(data, cuts, max_bytes=40):
    framer, out, start = Framer(max_bytes), [], 0
    for cut in [*sorted(cuts), len(data)]:
        out += framer.feed(data[start:cut])
        start = cut
    return [*out, *framer.close()]


WIRE = st.lists(
    st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\n", b"MSH|", b"x" * 30, b"\x1c\r\x0b"]),
    max_size=30,
).map(b"".join)


@given(WIRE, st.data())
def test_no_split_changes_what_is_received(data, draw):
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=12))
    assert fed_in_pieces(data, cuts) == closed(data, max_bytes=40)


CONTENT = st.binary(max_size=60).map(lambda b: b.replace(b"\x0b", b"v").replace(b"\x1c", b"f"))


@given(st.lists(CONTENT, max_size=6), st.data())
def test_frames_come_out_as_they_went_in(payloads, draw):
    wire = b"".join(map(frame, payloads))
    cuts = draw.draw(st.lists(st.integers(0, len(wire)), max_size=12))
    assert fed_in_pieces(wire, cuts, max_bytes=60) == [Frame(p) for p in payloads]


@given(st.lists(st.tuples(CONTENT, CONTENT), max_size=4))
def test_noise_between_frames_costs_no_frame_and_no_byte(pairs):
    wire = b"".join(noise + frame(payload) for noise, payload in pairs)
    out = closed(wire, max_bytes=60)
    assert [r.payload for r in out if isinstance(r, Frame)] == [p for _, p in pairs]
    noise = b"".join(n for n, _ in pairs)
    kept = b"".join(r.data for r in out if isinstance(r, Junk))
    assert len(noise.translate(None, b"\r\n")) == len(kept.translate(None, b"\r\n"))
