from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integration.errors import ANSWERS, Refused
from integration.hl7v2.decode import Kind, decode
from model.ecg import LEADS_12
from tests.hl7_messages import MSH, OBR, PID, RATE, RESOLUTION, generic, twelve, wcm, wcm_lead

TWELVE = wcm(*twelve())


def refused(raw, **options):
    with pytest.raises(Refused) as caught:
        decode(raw, **options)
    assert caught.value.reason in ANSWERS
    return caught.value.reason, caught.value.location


def test_a_message_with_an_ecg():
    decoded = decode(TWELVE)
    assert decoded.kind is Kind.ECG
    assert decoded.header.control_id == "C1"
    (exam,) = decoded.exams
    assert (exam.patient.identifier, exam.patient.authority) == ("4711", "HOSP")
    assert (exam.placer_order, exam.filler_order) == ("P1", "F1")
    assert exam.acquired == exam.ecg.start == datetime(2026, 1, 2, 2, 4, tzinfo=UTC)
    assert exam.ecg.leads == LEADS_12


def bad_lead(old, new, **options):
    return wcm(*(body.replace(old, new) for body in twelve()), **options)


@pytest.mark.parametrize(
    ("raw", "reason", "location"),
    [
        (TWELVE[4:], "msh-missing", ()),
        (TWELVE.replace(b"MSH|^~", b"MSH|^^"), "msh-malformed", ("MSH", 1, 2)),
        (TWELVE.replace(b"|C1|", b"||"), "control-id-missing", ("MSH", 1, 10)),
        (TWELVE.replace(b"|2.6\r", b"|3.0\r"), "version-unsupported", ("MSH", 1, 12)),
        (bad_lead("131331", "131137"), "lead-unknown", ("OBX", 19, 3)),
        (bad_lead("POTL_V1", "POTL_V9"), "lead-unknown", ("OBX", 19, 3)),
        (bad_lead("POTL_V1", "POTL_V2"), "lead-mismatch", ("OBX", 19, 3)),
        (bad_lead("SAMP_RATE", "FILTER"), "rate-missing", ("OBX", 1, 3)),
        (wcm(*twelve(attributes=(RESOLUTION,))), "rate-missing", ("OBX", 1, 3)),
        (wcm(*twelve(attributes=(RATE,))), "resolution-missing", ("OBX", 1, 5)),
        (wcm(*twelve()[:-3], *wcm_lead("V6", "0^1")), "lengths-differ", ("OBX", 34, 5)),
        (bad_lead("0^1^-2", "0^one^-2"), "samples-malformed", ("OBX", 1, 5)),
        (wcm(*twelve(), pid="PID|1||"), "patient-missing", ("PID", 1, 3)),
        (wcm(*twelve(), pid="PID"), "patient-missing", ("PID", 1, 3)),
        (wcm(*twelve(), pid=""), "patient-missing", ("PID", 1, 3)),
        (wcm(*twelve(), obr=OBR.replace("202601", "202613")), "time-malformed", ("OBR", 1, 7)),
        (TWELVE.replace(b"0^1^-2|", b"0^1\r^-2|", 1), "samples-malformed", ("OBX", 1, 5)),
        (TWELVE + TWELVE, "batch-unsupported", ("MSH", 2, 0)),
        (b"BHS|^~\\&|\r" + TWELVE, "batch-unsupported", ()),
        (TWELVE + b"BTS|1\r", "batch-unsupported", ("BTS", 1, 0)),
        (TWELVE.replace(b"PID|1||", b"PID|1|\xff|"), "charset-undecodable", ("PID", 1, 2)),
        (TWELVE.replace(b"4711", b"47\x0011"), "field-malformed", ()),
        (TWELVE.replace(b"|P1^X", b"|P\x001^X"), "field-malformed", ()),
    ],
)
def test_messages_that_are_refused_with_their_place(raw, reason, location):
    assert refused(raw) == (reason, location)


@pytest.mark.parametrize("charset", ["KLINGON", "CNS 11643-1992"])
def test_a_character_set_that_is_not_known(charset):
    raw = TWELVE.replace(b"|2.6\r", b"|2.6||||||" + charset.encode() + b"\r")
    assert refused(raw) == ("charset-unsupported", ("MSH", 1, 18))


def test_a_refusal_quotes_no_patient():
    raw = wcm(*twelve("0^CANARY"), pid="PID|1||CANARY^^^HOSP^MR||CANARY^JOHN")
    with pytest.raises(Refused) as caught:
        decode(raw)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("make", [wcm, generic])
def test_any_segment_separator(make, end):
    raw = make(*twelve()).replace(b"\r", end.encode())
    assert decode(raw).exams[0].ecg.n_samples == 3


@pytest.mark.parametrize("characters", ["$%*!/", "|^~\\&#", "!@#%&"])
def test_any_delimiters(characters):
    table = str.maketrans("|^~\\&", characters[:5])
    raw = wcm(*twelve()).decode().translate(table)
    if len(characters) == 6:
        raw = raw.replace("^~\\&|", "^~\\&#|", 1)
    (exam,) = decode(raw.encode()).exams
    np.testing.assert_allclose(exam.ecg.voltage_mv, [[0, 0.005, -0.01]] * 12)
    assert exam.patient.authority == "HOSP"


def test_trailing_separators_change_nothing():
    raw = b"\r".join(line + b"||" for line in TWELVE.split(b"\r") if line)
    assert decode(raw).exams[0].ecg.leads == LEADS_12


def test_a_message_type_decides_nothing():
    for kind in (b"ORU^W01", b"ORU^W01^ORU_W01", b"ORU^R30", b"", b"ZZZ^Z01"):
        raw = TWELVE.replace(b"ORU^R01^ORU_R01", kind)
        assert decode(raw).kind is Kind.ECG


@pytest.mark.parametrize(
    ("sent_at", "start", "zone", "acquired"),
    [
        ("20260102+0100", "20260102030400", None, datetime(2026, 1, 2, 2, 4, tzinfo=UTC)),
        ("20260102", "20260102030400", UTC, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("20260102", "20260102030400", None, date(2026, 1, 2)),
        ("20260102", "20260102", UTC, date(2026, 1, 2)),
        ("20260102", "202601", UTC, None),
        ("20260102", "", UTC, None),
    ],
)
def test_when_an_ecg_was_acquired(sent_at, start, zone, acquired):
    raw = TWELVE.replace(b"20260102030405+0100", sent_at.encode())
    raw = raw.replace(b"20260102030400+0100", start.encode())
    (exam,) = decode(raw, zone=zone).exams
    assert exam.acquired == acquired
    assert exam.ecg.start == (acquired if isinstance(acquired, datetime) else None)


def ordinary(kind, *segments):
    return "\r".join([MSH.replace("ORU^R01^ORU_R01", kind), *segments]).encode()


RESULT = [
    PID,
    "OBR|1|P|F|93000^ELECTROCARDIOGRAM 12 LEAD^CPT4",
    "OBX|1|NM|8867-4^Heart rate^LN||72|/min|||||P",
    "OBX|2|TX|8601-7^EKG impression^LN||Sinus rhythm~Normal ECG",
    "a second line of a broken text||||||P",
    "OBX|3|ED|11524-6^EKG study^LN||^application^pdf^Base64^JVBERi0=||||||P",
]


@pytest.mark.parametrize(
    "raw",
    [
        ordinary("ADT^A01", "EVN|A01", "PID|1||", "PV1|1|I"),
        ordinary("ADT^A40^ADT_A39", PID, "MRG|4712", "PID|1||9", "MRG|8"),
        ordinary("ORM^O01", PID, "ORC|NW", OBR),
        ordinary("MDM^T02", PID, "TXA|1", "OBX|1|TX|1^I^L||text"),
        ordinary("ORU^R01", PID, OBR, "OBX|1|NM|I^Iodine^99LAB||100|ug"),
        ordinary("ACK", "MSA|AA|1"),
        ordinary(""),
    ],
)
def test_ordinary_traffic_is_no_error(raw):
    decoded = decode(raw)
    assert (decoded.kind, decoded.exams) == (Kind.OTHER, ())


def test_a_result_without_its_ecg():
    decoded = decode(ordinary("ORF^R04", *RESULT))
    assert (decoded.kind, decoded.exams) == (Kind.MEASUREMENTS, ())
    (result,) = decoded.clinical.results
    assert [m.value for m in result.measurements] == [72.0]
    assert result.statements == ("Sinus rhythm", "Normal ECG\na second line of a broken text")


def test_single_numbers_under_the_name_of_a_lead_are_no_waveform():
    scalar = "NM|MDC_ECG_LEAD_I^MDC_ECG_LEAD_I^Local||100|mV"
    assert refused(wcm(scalar)) == ("waveform-unsupported", ("OBX", 1, 5))
    assert decode(wcm(scalar, *twelve())).exams[0].ecg.leads == LEADS_12


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (wcm() + b"OBX|\r" * 50_001, "message-too-large"),
        (wcm("NM|" + "x" * 4097), "field-malformed"),
        (wcm(*twelve(), pid="PID|1||" + "~" * 64), "patient-ambiguous"),
        (wcm(*wcm_lead("I", "^1" * 3_600_001)), "samples-out-of-range"),
        (wcm(*wcm_lead("I", "1" * 1_000_000)), "samples-malformed"),
    ],
)
def test_sizes_that_no_sender_needs(raw, reason):
    assert refused(raw)[0] == reason


def outcome(raw):
    try:
        return decode(raw).kind.value
    except Refused as error:
        return error.reason if error.reason in ANSWERS else "a reason without an answer"


MUTABLE = [
    TWELVE,
    ordinary("ORU^R01", *RESULT),
    generic("CD|5&CHN|1|1&I^I^0.005&mV^^500^-9&9", "NA|5&WAV|1|0^1^2"),
]
PIECES = [b"|", b"^", b"~", b"&", b"\\", b"\r", b"\n", b'""', b"nan", b"-", b".", b"9" * 30,
          b"MSH|^~\\&|", b"PID|1||2", b"OBR|", b"OBX|1|NA|131329|", b"\x00", b"\xff",
          b"0"]  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(MUTABLE), st.data())
def test_a_mutated_message_is_decoded_or_refused_and_nothing_else(raw, draw):
    mutations = st.tuples(
        st.integers(0, len(raw)),
        st.integers(0, 40),
        st.sampled_from(PIECES) | st.binary(max_size=4),
    )
    for at, length, piece in draw.draw(st.lists(mutations, min_size=1, max_size=6)):
        raw = raw[:at] + piece + raw[at + length :]
    assert outcome(raw) in {*Kind, *ANSWERS}


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: b"MSH|^~\\&|" + b))
def test_bytes_at_random_are_decoded_or_refused(raw):
    assert outcome(raw) in {Kind.OTHER.value, *ANSWERS}
