import numpy as np
import pytest

from integration.errors import Refused
from integration.fhir.bundle import alone
from integration.fhir.element import Element
from integration.fhir.observations import has_samples, leads_of
from tests.fhir_observations import UCUM, component, lead_code, observation, one_lead, sampled

PRESSURE = {"origin": {"value": 0, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}}


def read(components, **changes):
    return leads_of(Element(observation(components, **changes), "Observation"))


def test_a_lead_a_component():
    found = read([component("I", "1 2"), component("V6", "3 4")])
    assert [(lead.name, lead.path) for lead in found] == [
        ("I", "Observation.component[0].valueSampledData"),
        ("V6", "Observation.component[1].valueSampledData"),
    ]
    assert found[1].sampled.mv.tolist() == pytest.approx([0.015, 0.020])


def test_the_observations_own_lead():
    (lead,) = leads_of(Element(one_lead("aVR", "1 2"), "Observation"))
    assert (lead.name, lead.path) == ("aVR", "Observation.valueSampledData")


def test_the_body_site_names_a_lead():
    value = observation(None, valueSampledData=sampled("1 2"), bodySite={"text": "V3"})
    (lead,) = leads_of(Element(value, "Observation"))
    assert lead.name == "V3"


def test_consecutive_components_of_a_lead_go_on():
    (lead,) = read([component("I", "1 2"), component("I", "3 4"), component("I", "5")])
    assert lead.sampled.mv.tolist() == pytest.approx([0.005, 0.010, 0.015, 0.020, 0.025])
    assert lead.sampled.resolution_mv == pytest.approx(0.005)


def test_pieces_of_other_steps_have_no_resolution_together():
    (lead,) = read([component("I", "1 2"), component("I", "3 4", factor=1)])
    assert lead.sampled.resolution_mv is None
    assert np.allclose(lead.sampled.mv, [0.005, 0.010, 0.003, 0.004])


def test_what_is_beside_leads_is_passed_over():
    heart_rate = {"code": {"text": "heart rate"}, "valueQuantity": {"value": 60}}
    further = {
        "code": {"coding": [{"code": "131081", "display": "MDC_ECG_LEAD_V7"}]},
        "valueSampledData": sampled("1"),
    }
    respiration = {"code": {"text": "resp"}, "valueSampledData": sampled("1", **PRESSURE)}
    found = read([heart_rate, component("II", "1"), further, respiration])
    assert [lead.name for lead in found] == ["II"]


def test_other_waveforms_are_no_ecg():
    code = {"coding": [{"code": "150084", "display": "MDC_PRESS_BLD_VEN_CENT"}]}
    value = observation(None, code=code, valueSampledData=sampled("1", **PRESSURE))
    assert leads_of(Element(value, "Observation")) == []
    assert has_samples(alone(value).entries[0])
    assert not has_samples(alone(observation(None)).entries[0])


@pytest.mark.parametrize(
    ("components", "changes", "reason", "place"),
    [
        ([component("I", "1"), component("II", "1"), component("I", "2")], {}, "lead-duplicate",
         "Observation.component[2].valueSampledData"),
        ([component("I", "1 2"), component("I", "1 2")], {}, "lead-duplicate",
         "Observation.component[1].valueSampledData"),
        ([component("I", "1 2"), component("I", "3", period=4)], {}, "rate-conflict",
         "Observation.component[1].valueSampledData"),
        ([component("I", "1")], {"status": "entered-in-error"}, "waveform-unsupported",
         "Observation.status"),
        ([{"code": {"text": "channel 1"}, "valueSampledData": sampled("1")}], {}, "lead-unknown",
         "Observation.component[0].code"),
        ([component("I", "1") | {"code": lead_code("I") | {"text": "Lead II"}}], {},
         "lead-mismatch", "Observation.component[0].code"),
        ([component("I", "1"), component("II", "1", period=None)], {}, "rate-missing",
         "Observation.component[1].valueSampledData.period"),
    ],
)  # fmt: skip
def test_refused(components, changes, reason, place):
    with pytest.raises(Refused) as caught:
        read(components, **changes)
    assert (caught.value.reason, caught.value.expression) == (reason, place)
