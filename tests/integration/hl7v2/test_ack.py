from datetime import datetime, timedelta, timezone

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import ANSWERS, Refused, TryLater
from integration.hl7v2.ack import Fault, acknowledge, read_acknowledgement
from integration.hl7v2.header import parse_header

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone(timedelta(hours=1)))
FAULTS = [
    Fault("lead-unknown", "no ONE", ("OBX", 3, 5)),
    Fault("rate-missing", "no rate", ("OBX", 4, 0)),
    Fault("msh-malformed", "no place"),
]


def header(version="2.6"):
    start = "MSH|^~\\&|CART^1^ISO|WARD|HIS|HOSP|20260102||ORU^R01^ORU_R01|C1|T^A"
    return parse_header(f"{start}|{version}||||||UNICODE UTF-8".encode())


def answer(head, code="AA", faults=()):
    return acknowledge(head, code, faults=faults, control_id="OUR1", now=NOW)


def test_a_positive_answer():
    assert answer(header()) == (
        b"MSH|^~\\&|HIS|HOSP|CART^1^ISO|WARD|20260102030405.678+0100||ACK^R01^ACK|OUR1|T^A|2.6"
        b"||||||UNICODE UTF-8\rMSA|AA|C1\r"
    )


def test_every_fault_has_its_own_segment():
    assert answer(header(), "AR", FAULTS).split(b"\r")[1:] == [
        b"MSA|AR|C1",
        b"ERR||OBX^3^5|103^Table value not found^HL70357|E|lead-unknown^lead unknown^L|||no ONE",
        b"ERR||OBX^4|101^Required field missing^HL70357|E|rate-missing^rate missing^L|||no rate",
        b"ERR|||100^Segment sequence error^HL70357|E|msh-malformed^msh malformed^L|||no place",
        b"",
    ]


@pytest.mark.parametrize("version", ["2.3", "2.3.1", "2.4"])
def test_an_older_version_is_told_in_its_own_way(version):
    msh, msa, err, end = answer(header(version), "AR", FAULTS).split(b"\r")
    assert msh.split(b"|")[8] == (b"ACK" if version == "2.3" else b"ACK^R01^ACK")
    assert msa == b"MSA|AR|C1|lead-unknown: no ONE"
    assert err == (
        b"ERR|OBX^3^5^103&Table value not found&HL70357~OBX^4^^101&Required field missing&HL70357"
        b"~^^^100&Segment sequence error&HL70357"
    )
    assert end == b""


def test_a_message_without_header_is_answered_without_its_id():
    raw = answer(None, "AR", [Fault("msh-missing", "no MSH")])
    assert raw.startswith(b"MSH|^~\\&|||||20260102030405.678+0100||ACK|OUR1|P|2.5.1\rMSA|AR\rERR|")
    assert (
        parse_message(raw.decode(), validation_level=VALIDATION_LEVEL.TOLERANT).msa.msa_2.value
        == ""
    )


@pytest.mark.parametrize("version", ["2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", ""])
@pytest.mark.parametrize("faults", [[], FAULTS])
def test_hl7apy_takes_it(version, faults):
    raw = answer(header(version), "AR" if faults else "AA", faults).decode()
    message = parse_message(raw, validation_level=VALIDATION_LEVEL.STRICT, find_groups=False)
    assert message.validate()
    assert message.msa.msa_2.value == "C1"
    expected = 1 if version in ("2.3.1", "2.4") else len(FAULTS)
    assert len(message.children.get("ERR")) == (expected if faults else 0)


def test_the_senders_delimiters_are_kept_and_texts_cannot_break_out():
    own = parse_header(b"MSH$%*!/$CART$WARD$$$$$ORU%R01$C1$P$2.6")
    raw = answer(own, "AR", [Fault("lead-unknown", "a$b%c*d!e/f|g\rh\x1ci\x0b")])
    assert raw.startswith(b"MSH$%*!/$$$CART$WARD$")
    assert raw.count(b"\r") == 3
    assert raw.endswith(b"$$$a!F!b!S!c!R!d!E!e!T!f|g h i \r")
    assert read_acknowledgement(raw).texts == ("lead-unknown: a$b%c*d!e/f|g h i",)


def test_without_an_escape_character_delimiters_become_blanks():
    own = parse_header(b"MSH|^~|CART||||||ORU^R01|C1|P|2.4")
    raw = answer(own, "AR", [Fault("lead-unknown", "a|b^c")])
    assert raw.split(b"\r")[1] == b"MSA|AR|C1|lead-unknown: a b c"
    assert raw.split(b"\r")[2] == b"ERR|^^^103 Table value not found HL70357"


def test_texts_go_in_the_messages_character_set():
    latin = parse_header(b"MSH|^~\\&|K\xe4fer||||||ORU^R01|C1|P|2.6||||||8859/1")
    raw = answer(latin, "AR", [Fault("unit-unknown", "unit '\u00b5\u03bc'")])
    assert b"|K\xe4fer|" in raw
    assert b"unit '\xb5?'" in raw


def test_a_character_set_that_nobody_knows_is_not_claimed():
    klingon = parse_header(b"MSH|^~\\&|CART||||||ORU^R01|C1|P|2.6||||||KLINGON")
    assert b"KLINGON" not in answer(klingon, "AR", [Fault("charset-unsupported", "no")])


def test_a_long_sentence_is_cut():
    err = answer(header(), "AR", [Fault("lead-unknown", "x" * 5000)]).split(b"\r")[2]
    assert err.endswith(b"|" + b"x" * 200)


def test_a_fault_is_told_as_its_error_says():
    assert Fault.of(Refused("lead-unknown", "a", ("OBX", 1, 3))) == Fault(
        "lead-unknown", "a", ("OBX", 1, 3)
    )
    assert Fault.of(TryLater("store-unavailable", "b")) == Fault("store-unavailable", "b")


@pytest.mark.parametrize("reason", sorted(ANSWERS))
def test_every_reason_comes_through(reason):
    raw = answer(header(), "AE", [Fault(reason, "why")])
    assert read_acknowledgement(raw).texts == (f"{reason}: why",)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ("MSA|AE|C1|no room", ("no room",)),
        (
            "MSA|AE|C1\rERR|||207^Application internal error^HL70357|E",
            ("207 Application internal error",),
        ),
        ("MSA|AE|C1\rERR|||100|E||||look", ("look",)),
        ("MSA|AE|C1\rERR|||100|E|||diagnostic", ("diagnostic",)),
        ("MSA|AE|C1\rSFT|x\rERR|PID^1^3", ()),
    ],
)
def test_answers_of_others_are_read(body, texts):
    ack = read_acknowledgement(f"MSH|^~\\&|A|B|C|D|||ACK|9|P|2.5\r{body}\r".encode())
    assert (ack.code, ack.control_id, ack.texts) == ("AE", "C1", texts)


def test_what_is_no_answer():
    with pytest.raises(Refused, match="msh-missing"):
        read_acknowledgement(b"HTTP/1.1 400 Bad Request\r\n")
    ack = read_acknowledgement(b"MSH|^~\\&|A|B|C|D|||ACK|9|P|2.5\r")
    assert (ack.code, ack.control_id) == ("", "")


@given(st.text(max_size=60), st.sampled_from(["2.3", "2.6"]))
def test_no_text_breaks_the_answer(text, version):
    raw = answer(header(version), "AR", [Fault("lead-unknown", text)])
    assert [line[:3] for line in raw.split(b"\r")] == [b"MSH", b"MSA", b"ERR", b""]
    assert read_acknowledgement(raw).control_id == "C1"
