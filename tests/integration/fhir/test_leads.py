import pytest

from integration.errors import Refused
from integration.fhir.codes import LOINC, MDC
from integration.fhir.element import Element
from integration.fhir.leads import lead_in, means_ecg
from integration.hl7v2.leads import OTHER
from model.ecg import LEADS_12
from tests.fhir_observations import lead_code

OID = "urn:oid:2.16.840.1.113883.6.24"


def concept(*codings, text=None):
    value = {"coding": [dict(zip(("system", "code", "display"), c, strict=False)) for c in codings]}
    return Element(value | ({"text": text} if text else {}), "C")


@pytest.mark.parametrize("lead", LEADS_12)
def test_our_own_codes(lead):
    assert lead_in(Element(lead_code(lead), "C")) == lead


@pytest.mark.parametrize(
    ("given", "lead"),
    [
        (concept((OID, "131390", "MDC_ECG_ELEC_POTL_AVR")), "aVR"),
        (concept((MDC, "131075")), "V1"),
        (concept(("urn:oid:1.2.840.10008.2.16.4", "5.6.3-9-61", "Lead III")), "III"),
        (concept(("", "131329", "MDC_ECG_ELEC_POTL_I")), "I"),
        (concept((LOINC, "44967-8", "EKG lead"), text="V6"), "V6"),
        (concept((MDC, "131329"), (LOINC, "44967-8"), text="Lead I"), "I"),
        (concept(text="Lead aVF"), "aVF"),
        (concept((MDC, "131328", "MDC_ECG_ELEC_POTL")), None),
        (concept(("http://snomed.info/sct", "131330", "something")), None),
        (concept((LOINC, "8867-4", "Heart rate")), None),
        (concept((MDC, "131081", "MDC_ECG_LEAD_V7")), OTHER),
    ],
)
def test_lead(given, lead):
    assert lead_in(given) == lead


def test_several_concepts_agree():
    assert lead_in(concept((MDC, "131328")), concept(text="V2"), None) == "V2"


@pytest.mark.parametrize(
    ("concepts", "reason", "place"),
    [
        ([concept((MDC, "131331", "MDC_ECG_ELEC_POTL_III"))], "lead-mismatch", "C.coding[0]"),
        ([concept((MDC, "131137", "MDC_ECG_LEAD_aVR"))], "lead-unknown", "C.coding[0]"),
        ([concept((MDC, "131329"), (MDC, "131330"))], "lead-mismatch", "C"),
        ([concept((MDC, "131329"), text="Lead II")], "lead-mismatch", "C"),
        ([concept((MDC, "131329")), concept(text="II")], "lead-mismatch", "C"),
    ],
)
def test_contradictions_are_refused(concepts, reason, place):
    with pytest.raises(Refused) as caught:
        lead_in(*concepts)
    assert (caught.value.reason, caught.value.expression) == (reason, place)


def test_what_means_an_ecg():
    assert means_ecg(None, concept((LOINC, "11524-6")))
    assert means_ecg(concept(text="12-lead ECG"))
    assert not means_ecg(concept((LOINC, "8867-4", "Heart rate"), text="pulse"))
