from datetime import UTC, datetime

import pytest

from db.clinical import BedMove
from db.records import Bed, PatientRef
from integration.errors import Refused
from integration.hl7v2.decode import Kind, decode
from tests.hl7_messages import MSH, OBR, PID, twelve, wcm

EVN = "EVN|A01|20260102030405+0000"
EVENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHO = PatientRef("4711", "HOSP")
VISIT = "PV1|1|I|ICU^507^3^HOSP"


def adt(trigger, *segments, evn=EVN, msh=MSH):
    header = msh.replace("ORU^R01^ORU_R01", f"ADT^{trigger}")
    return "\r".join([header, evn, *segments]).encode()


def moves(raw, zone=None):
    return decode(raw, zone=zone).clinical.moves


@pytest.mark.parametrize(
    ("trigger", "bed", "cancels"),
    [
        *((t, Bed("ICU^507^3", "HOSP"), False) for t in ("A01", "A02", "A04", "A06", "A07")),
        *((t, Bed("ICU^507^3", "HOSP"), False) for t in ("A08", "A10", "A17", "A22")),
        *((t, None, False) for t in ("A03", "A09", "A21")),
        *((t, None, True) for t in ("A11", "A12", "A13", "A32", "A33")),
    ],
)
def test_who_moves_where(trigger, bed, cancels):
    decoded = decode(adt(trigger, PID, VISIT))
    assert decoded.kind is Kind.MOVEMENT
    assert decoded.clinical.moves == (BedMove(WHO, EVENT, bed, cancels),)


@pytest.mark.parametrize("trigger", ["A05", "A14", "A15", "A16", "A28", "A31", "A40", "A60", ""])
def test_events_that_move_nobody(trigger):
    decoded = decode(adt(trigger, PID, VISIT))
    assert (decoded.kind, decoded.clinical.moves) == (Kind.OTHER, ())


@pytest.mark.parametrize(
    ("location", "bed"),
    [
        ("HDU^507^3", Bed("HDU^507^3")),
        ("HDU^^3", Bed("HDU^^3")),
        ("^^3^HOSP&1.2&ISO", Bed("^^3", "HOSP")),
        ("HDU&9.8&ISO^507^3~ICU^1^1", Bed("HDU^507^3")),
        ("EUH-4TN-T435", Bed("EUH-4TN-T435")),
        ("EUH-4TN-T435^^^EUH", Bed("EUH-4TN-T435", "EUH")),
        ("ICU", None),
        ("4TN", None),
        ("W-4", None),
        ("ICU^507", None),
        ("EUH-4TN-T435^2", None),
        ("", None),
        ('""', None),
    ],
)
def test_a_ward_or_a_room_is_no_bed(location, bed):
    (move,) = moves(adt("A01", PID, f"PV1|1|I|{location}"))
    assert move.bed == bed
    assert len(moves(adt("A08", PID, f"PV1|1|I|{location}"))) == (bed is not None)


@pytest.mark.parametrize(
    ("trigger", "evn", "pv1", "moment"),
    [
        ("A01", "EVN|A01|20260102030405+0000||||20260102020000+0000", VISIT, (2, 0, 0)),
        ("A01", EVN, VISIT + "|" * 41 + "20260102010000+0000", (1, 0, 0)),
        ("A02", EVN, VISIT + "|" * 41 + "20260102010000+0000", (3, 4, 5)),
        ("A03", EVN, VISIT + "|" * 42 + "20260102013000+0000", (1, 30, 0)),
        ("A01", EVN, VISIT + "|" * 41 + "20260102", (3, 4, 5)),
        ("A01", EVN, VISIT + "|" * 41 + "noon", (3, 4, 5)),
    ],
)
def test_when_it_happened(trigger, evn, pv1, moment):
    (move,) = moves(adt(trigger, PID, pv1, evn=evn))
    assert (move.at.astimezone(UTC).hour, move.at.minute, move.at.second) == moment


def test_a_time_needs_its_zone():
    local = adt("A01", PID, VISIT, evn="EVN|A01|20260102030405")
    (move,) = moves(local)  # MSH-7 has one
    assert move.at == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    nowhere = local.replace(b"+0100", b"")
    assert moves(nowhere) == ()
    assert moves(nowhere, zone=UTC)[0].at == EVENT


@pytest.mark.parametrize(
    "segments", [[VISIT], ["PID|1||", VISIT], ["PID|1||1~2", VISIT], ["PID|1||a\0b", VISIT]]
)
def test_without_a_certain_patient_nobody_moves(segments):
    decoded = decode(adt("A01", *segments))
    assert (decoded.kind, decoded.clinical.moves) == (Kind.OTHER, ())


def test_a_message_without_its_event_or_visit():
    assert moves(adt("A01", PID, VISIT, evn="ZZZ|1")) == ()
    assert moves(adt("A03", PID)) == (BedMove(WHO, EVENT, None),)


def test_two_patients_swap_beds():
    swap = adt("A17", PID, VISIT, PID.replace("4711", "4712"), VISIT.replace("^3^", "^4^"))
    assert [(m.patient.identifier, m.bed.name) for m in moves(swap)] == [
        ("4711", "ICU^507^3"),
        ("4712", "ICU^507^4"),
    ]


def ecg(pv1, obr_10="", pid="PID|||^^^Hospital^PI"):
    obr = f"{OBR}|||{obr_10}"
    segments = pid + (f"\r{pv1}" if pv1 else "")
    (exam,) = decode(wcm(*twelve(), pid=segments, obr=obr)).exams
    return exam


@pytest.mark.parametrize(
    ("pv1", "obr_10", "bed"),
    [
        ("PV1||I|HDU^507^3", "", "HDU^507^3"),
        ("PV1||I|EUH-4TN-T435", "EUH-4TN-T435", "EUH-4TN-T435"),
        ("PV1||I|", "EUH-4TN-T435", "EUH-4TN-T435"),
        ("", "EUH-4TN-T435", "EUH-4TN-T435"),
        ("PV1||I|HDU^507^3", "17^SMITH^JOHN", "HDU^507^3"),
    ],
)
def test_an_ecg_without_a_patient_is_known_by_its_bed(pv1, obr_10, bed):
    exam = ecg(pv1, obr_10)
    assert (exam.patient, exam.bed) == (None, Bed(bed))


@pytest.mark.parametrize(
    ("pv1", "obr_10"),
    [
        ("", ""),
        ("PV1||I|ICU", ""),
        ("", "17^SMITH^JOHN"),
        ("PV1||I|EUH-4TN-T436", "EUH-4TN-T435"),
    ],
)
def test_an_ecg_with_neither_is_refused(pv1, obr_10):
    with pytest.raises(Refused, match="patient-missing"):
        ecg(pv1, obr_10)


def test_a_patient_is_told_with_the_bed_and_an_ambiguous_one_is_not_replaced_by_it():
    exam = ecg("PV1||I|HDU^507^3", pid=PID)
    assert (exam.patient, exam.bed) == (WHO, Bed("HDU^507^3"))
    with pytest.raises(Refused, match="patient-ambiguous"):
        ecg("PV1||I|HDU^507^3", pid="PID|||1~2")


def test_a_bed_that_cannot_be_kept():
    with pytest.raises(Refused, match="field-malformed"):
        ecg("PV1||I|HDU^507^\0")


def test_a_visit_is_its_own_patients():
    """PV1 of one patient says nothing of the next."""
    first = wcm(*twelve(), pid=f"{PID}\rPV1||I|HDU^507^3")
    raw = first + b"PID|2||\r" + b"\r".join(wcm(*twelve()).split(b"\r")[2:])
    with pytest.raises(Refused, match="patient-missing"):
        decode(raw)
