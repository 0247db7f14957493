"""Which leads make one ECG, through `decode`: the rules are about orders and patients."""

import pytest

from integration.errors import Refused
from integration.hl7v2.decode import decode
from tests.hl7_messages import MSH, PID, wcm_lead

OTHER_PID = "PID|2||4712^^^HOSP^MR"


def obr(number=1, start="20260102030400+0100"):
    return f"OBR|{number}|P{number}|F{number}|69121^MDC_OBS_WAVE_CTS^MDC|||{start}"


def leads(*names, samples="0^1", time=""):
    bodies = [b for n, name in enumerate(names) for b in wcm_lead(name, samples, path=f"1.1.1.{n}")]
    return [
        f"OBX|1|{body}{'|||' + time if time and body.startswith('NA') else ''}" for body in bodies
    ]


def ecgs(*segments):
    exams = decode("\r".join([MSH, *segments]).encode()).exams
    return [(e.patient.identifier, e.placer_order, e.ecg.leads) for e in exams]


def flat(*parts):
    return [s for part in parts for s in ([part] if isinstance(part, str) else part)]


def test_leads_of_one_order_are_one_ecg():
    assert ecgs(*flat(PID, obr(), leads("I", "II"))) == [("4711", "P1", ("I", "II"))]


def test_orders_of_one_lead_each_are_one_ecg_when_they_start_together():
    segments = flat(PID, obr(1), leads("I"), obr(2), leads("II"), obr(3), leads("V1"))
    assert ecgs(*segments) == [("4711", "P1", ("I", "II", "V1"))]


def test_orders_that_start_apart_are_several_ecgs():
    segments = flat(PID, obr(1), leads("I"), obr(2, "20260102030500+0100"), leads("II"))
    assert ecgs(*segments) == [("4711", "P1", ("I",)), ("4711", "P2", ("II",))]


def test_orders_without_a_start_are_not_joined():
    segments = flat(PID, obr(1, ""), leads("I"), obr(2, ""), leads("II"))
    assert ecgs(*segments) == [("4711", "P1", ("I",)), ("4711", "P2", ("II",))]


def test_the_same_leads_again_are_another_ecg():
    segments = flat(PID, obr(1), leads("I", "II"), obr(2), leads("I", "II"))
    assert ecgs(*segments) == [("4711", "P1", ("I", "II")), ("4711", "P2", ("I", "II"))]


def test_the_time_of_the_observation_goes_before_that_of_the_order():
    later = leads("II", time="20260102030402.5+0100")
    segments = flat(PID, obr(1), leads("I"), later)
    assert ecgs(*segments) == [("4711", "P1", ("I",)), ("4711", "P1", ("II",))]


def test_each_patient_of_a_message_has_their_own():
    segments = flat(PID, obr(1), leads("I"), OTHER_PID, obr(2), leads("II"))
    assert ecgs(*segments) == [("4711", "P1", ("I",)), ("4712", "P2", ("II",))]


def test_observations_directly_after_pid_belong_to_that_patient():
    segments = flat(PID, obr(1), leads("I"), OTHER_PID, leads("II"))
    assert ecgs(*segments) == [("4711", "P1", ("I",)), ("4712", None, ("II",))]


def test_two_pids_in_a_row_are_one_patient_or_none():
    assert ecgs(*flat(PID, PID, obr(), leads("I"))) == [("4711", "P1", ("I",))]
    for between in ([], ["PD1|"], ["NTE|1||x", "PV1|1|I"]):
        with pytest.raises(Refused, match="patient-ambiguous"):
            ecgs(*flat(PID, between, OTHER_PID, obr(), leads("I")))


def test_lengths_are_compared_over_orders():
    segments = flat(PID, obr(1), leads("I"), obr(2), leads("II", samples="0^1^2"))
    with pytest.raises(Refused, match="lengths-differ") as caught:
        ecgs(*segments)
    assert caught.value.location == ("OBX", 4, 5)


def test_too_many_ecgs_in_one_message():
    segments = flat(PID, *(flat(obr(n, f"20260102{n:06d}"), leads("I")) for n in range(257)))
    with pytest.raises(Refused, match="waveform-unsupported"):
        ecgs(*segments)
