import pytest

from db.records import PatientRef
from integration.errors import Refused
from integration.hl7v2.header import parse_header
from integration.hl7v2.message import Message
from integration.hl7v2.patient import patient_of


def chosen(*pids):
    raw = "\r".join(["MSH|^~\\&|A|B|||||ADT^A01|1|P|2.5", *(f"PID|1||{pid}" for pid in pids)])
    message = Message(raw.encode(), parse_header(raw.encode()), "ascii")
    return patient_of(message, tuple(message.segments()))


@pytest.mark.parametrize(
    ("pid", "identifier", "authority"),
    [
        ("4711", "4711", None),
        ("4711^^^HOSP^MR", "4711", "HOSP"),
        ("4711^^^HOSP&1.2.3&ISO^MR", "4711", "HOSP"),
        ("4711^^^&1.2.3&ISO^MR", "4711", "1.2.3"),
        ("4711^^^^SS", "4711", None),
        ("SS1^^^GOV^SS~4711^^^HOSP^MR~A1^^^HOSP^AN", "4711", "HOSP"),
        ("SS1^^^GOV^SS~4711^^^HOSP^PI", "4711", "HOSP"),
        ("4712^^^HOSP^PI~4711^^^HOSP^mr", "4711", "HOSP"),
        ("4711^^^HOSP^MR~4711^^^HOSP^MR", "4711", "HOSP"),
        ("~^^^HOSP^MR~4711", "4711", None),
        ("47\\T\\11", "47&11", None),
    ],
)
def test_the_identifier_that_is_certain(pid, identifier, authority):
    assert chosen(pid) == PatientRef(identifier, authority)


@pytest.mark.parametrize("pid", ["", '""', '""^^^HOSP^MR', "^^^Hospital^PI", "~~", "^DOE^JOHN"])
def test_no_identifier(pid):
    with pytest.raises(Refused, match="patient-missing") as caught:
        chosen(pid)
    assert caught.value.location == ("PID", 1, 3)


def test_no_pid():
    with pytest.raises(Refused, match="patient-missing"):
        chosen()


@pytest.mark.parametrize(
    "pid",
    [
        "1^^^GOV^SS~2^^^GOV^NI",
        "1~2",
        "1^^^A^MR~2^^^B^MR",
        "1^^^A^MR~2^^^B^MR~3^^^A^PI",
        "1^^^A^MR~1^^^B^MR",
    ],
)
def test_several_identifiers_and_no_way_to_choose(pid):
    with pytest.raises(Refused, match="patient-ambiguous"):
        chosen(pid)


def test_several_pids_have_to_agree():
    assert chosen("1^^^A^MR", "1^^^A^MR") == PatientRef("1", "A")
    with pytest.raises(Refused, match="patient-ambiguous") as caught:
        chosen("1^^^A^MR", "2^^^A^MR")
    assert caught.value.location == ("PID", 2, 3)


def test_a_refusal_quotes_no_identifier():
    with pytest.raises(Refused) as caught:
        chosen("CANARY1~CANARY2")
    assert "CANARY" not in str(caught.value)
