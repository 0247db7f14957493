import pytest

from db.clinical import OrderRef
from db.records import PatientRef
from integration.hl7v2.decode import Kind, decode
from tests.hl7_messages import MSH, PID

WHO = PatientRef("4711", "HOSP")
ORC = "ORC|NW|P1^HIS|F1^CART"
OBR = "OBR|1|P1^HIS|F1^CART|93000^ELECTROCARDIOGRAM^CPT4"


def told(*segments, kind="ORM^O01"):
    raw = "\r".join([MSH.replace("ORU^R01^ORU_R01", kind), *segments]).encode()
    decoded = decode(raw)
    assert decoded.exams == ()
    assert (decoded.kind is Kind.ORDER) == bool(decoded.clinical.orders)
    return decoded.clinical.orders


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19^OMG_O19", "OMI^O23", "ORR^O02"])
def test_an_order_for_an_ecg(kind):
    assert told(PID, ORC, OBR, kind=kind) == (OrderRef(WHO, "P1", "F1"),)


@pytest.mark.parametrize(
    ("orc", "obr", "order"),
    [
        ("ORC|NW|P1", "OBR|1|||93000^X", OrderRef(WHO, "P1")),
        ("ORC|NW", "OBR|1|P1||93000^X", OrderRef(WHO, "P1")),
        ("ZZZ|1", "OBR|1|P1|F1|11524-6^X^LN", OrderRef(WHO, "P1", "F1")),
        ("ORC|SC|P1|F1", "OBR|1|P1||EKG12^EKG 12 Ableitungen^L", OrderRef(WHO, "P1", "F1")),
        ("ORC|NW|P1|F2", "OBR|1|P1|F1|93000^X", OrderRef(WHO, "P1")),  # fillers that disagree
    ],
)
def test_numbers_of_either_segment(orc, obr, order):
    assert told(PID, orc, obr) == (order,)


@pytest.mark.parametrize(
    "segments",
    [
        (PID, ORC, OBR.replace("93000^ELECTROCARDIOGRAM", "58410-2^CBC")),
        (PID, ORC.replace("P1", "P2"), OBR),
        (PID, "ORC|NW", "OBR|1|||93000^X"),
        (ORC, OBR),
        ("PID|1||", ORC, OBR),
        ("PID|1||1~2", ORC, OBR),
        (PID, ORC, OBR.replace("P1", "P" * 251)),
        (PID, ORC),
    ],
)
def test_what_is_no_certain_order_for_an_ecg(segments):
    assert told(*segments) == ()


def test_a_result_is_no_order():
    assert told(PID, ORC, OBR, kind="ORU^R01") == ()


def test_orders_of_several_patients():
    second = (PID.replace("4711", "9"), ORC.replace("P1", "P2"), OBR.replace("P1", "P2"))
    assert [(o.patient.identifier, o.placer_order) for o in told(PID, ORC, OBR, *second)] == [
        ("4711", "P1"),
        ("9", "P2"),
    ]
