"""Batches: taken apart, counted, answered."""

from datetime import UTC, datetime

import pytest

from integration.errors import Refused
from integration.hl7v2.batch import encode_batch_answer, is_batch, split_batch

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FHS = "FHS|^~\\&|ARCHIVE|HOSP|HIS|US|20260101||night||F1"
BHS = "BHS|^~\\&|ARCHIVE|HOSP|HIS|US|20260101||part||B1"


def message(number):
    return f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|M{number}|P|2.5\rPID|1||{number}"


def raw(*lines, end="\r"):
    return (end.join(line.replace("\r", end) for line in lines) + end).encode()


def ids(batch):
    return [
        [m.split(b"|")[9].decode() for m in group.messages if m.startswith(b"MSH")]
        for group in batch.groups
    ]


WHOLE = (FHS, BHS, message(1), message(2), "BTS|2", BHS, message(3), "BTS|1|last", "FTS|2")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (WHOLE, [["M1", "M2"], ["M3"]]),
        ((BHS, message(1), "BTS|1"), [["M1"]]),
        ((BHS, message(1), "BTS"), [["M1"]]),  # a count that is not given cannot be wrong
        ((BHS, message(1), "BTS|0000000001"), [["M1"]]),
        ((BHS, "BTS|0"), [[]]),
        ((FHS, message(1), message(2), "FTS|1"), [["M1", "M2"]]),
        ((BHS, message(1), "BTS|1", BHS, message(2), "BTS|1"), [["M1"], ["M2"]]),
        ((FHS, "FTS|0"), []),
    ],
)
def test_messages_of_a_batch(lines, expected, end):
    content = raw(*lines, end=end)
    assert is_batch(content)
    batch = split_batch(b"\xef\xbb\xbf" + content)
    assert ids(batch) == expected
    assert (batch.header is not None) == (lines[0] is FHS)


def test_a_message_keeps_its_bytes():
    (group,) = split_batch(raw(BHS, message(1), "BTS|1")).groups
    assert group.messages == [message(1).encode() + b"\r"]


def test_a_line_of_base64_names_no_segment():
    lines = [
        name + more for name in ("MSH", "BHS", "BTS", "FHS", "FTS") for more in ("A", "9", "+")
    ]
    own = "\r".join([message(1), "OBX|1|ED|||^^^Base64^AAAA", *lines])
    (group,) = split_batch(raw(BHS, own, message(2), "BTS|2")).groups
    assert group.messages == [f"{one}\r".encode() for one in (own, message(2))]


def test_a_byte_order_mark_is_that_of_every_message():
    mark = b"\xef\xbb\xbf"
    named = message(1).replace("|1", "|\u00e9")
    (group,) = split_batch(mark + raw(BHS, named, message(2), "BTS|2")).groups
    plain = message(2).encode() + b"\r"  # in no need of one: it keeps its id
    assert group.messages == [mark + named.encode() + b"\r", plain]


@pytest.mark.parametrize("content", [b"", b"MSH|^~\\&|", b"BTS|1\r", "BHS|".encode("utf-16")])
def test_what_is_no_batch(content):
    assert not is_batch(content)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((BHS, message(1), "BTS|2"), "batch-count-mismatch"),
        ((BHS, message(1), "BTS|one"), "batch-count-mismatch"),
        ((BHS, message(1), "BTS|0000000010"), "batch-count-mismatch"),
        ((BHS, message(1), "BTS|" + "9" * 5000), "batch-count-mismatch"),
        ((FHS, BHS, message(1), "BTS|1", "FTS|2"), "batch-count-mismatch"),
        ((BHS, message(1)), "batch-incomplete"),
        ((FHS, BHS, message(1), "BTS|1"), "batch-incomplete"),
        ((FHS, BHS, message(1), "FTS|1"), "batch-malformed"),
        ((BHS, "PID|1", message(1), "BTS|1"), "batch-malformed"),
        ((BHS, BHS, "BTS"), "batch-malformed"),
        ((BHS, "BTS|0", "BTS|0"), "batch-malformed"),
        ((BHS, "BTS|0", FHS, "FTS"), "batch-malformed"),
        ((FHS, "FTS|0", message(1)), "batch-malformed"),
        ((BHS, "BTS|0", "FTS|1"), "batch-malformed"),
        (("BHS|^", message(1), "BTS|1"), "msh-malformed"),
        ((BHS.replace("B1", "B" * 300), "BTS|0"), "msh-malformed"),
        ((BHS.replace("B1", "B\x07"), "BTS|0"), "msh-malformed"),
    ],
)
def test_what_cannot_be_trusted_is_refused_whole(lines, reason):
    with pytest.raises(Refused) as refused:
        split_batch(raw(*lines))
    assert refused.value.reason == reason


def test_a_batch_has_an_end():
    with pytest.raises(Refused, match="message-too-large"):
        split_batch(raw(BHS, *["MSH|^~\\&"] * 10_001, "BTS"))


def test_the_answer_has_the_shape_of_the_batch():
    batch = split_batch(raw(*WHOLE))
    told = encode_batch_answer(
        batch, [[b"MSH|1\rMSA|AA|M1\r", b"MSH|2\r"], [b"MSH|3\r"]], control_id="OURS", now=NOW
    )
    lines = told.decode().split("\r")
    assert [line[:3] for line in lines] == [
        "FHS",
        "BHS",
        "MSH",
        "MSA",
        "MSH",
        "BTS",
        "BHS",
        "MSH",
        "BTS",
        "FTS",
        "",
    ]
    assert lines[0] == "FHS|^~\\&|HIS|US|ARCHIVE|HOSP|20260102030405.000+0000||||OURS|F1"
    assert lines[1].endswith("|OURS|B1")
    assert (lines[5], lines[8], lines[9]) == ("BTS|2", "BTS|1", "FTS|2")
    assert is_batch(told)


def test_messages_without_bhs_are_answered_without():
    batch = split_batch(raw(FHS, message(1), "FTS|1"))
    told = encode_batch_answer(batch, [[b"MSH|1\r"]], control_id="OURS", now=NOW)
    assert [line[:3] for line in told.split(b"\r")] == [b"FHS", b"MSH", b"FTS", b""]
