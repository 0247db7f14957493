from integration.fhir.codes import LEAD, TYPE_FINDING, coding, concept

# ISO/IEEE 11073-10102: MDC_ECG_LEAD_<name>
MDC_LEADS = {
    "I": "131073",
    "II": "131074",
    "III": "131133",
    "aVR": "131134",
    "aVL": "131135",
    "aVF": "131136",
    "V1": "131075",
    "V2": "131076",
    "V3": "131077",
    "V4": "131078",
    "V5": "131079",
    "V6": "131080",
}


def test_lead_codes():
    assert {name: lead["coding"][0]["code"] for name, lead in LEAD.items()} == MDC_LEADS
    assert LEAD["aVR"]["coding"][0]["display"] == "MDC_ECG_LEAD_aVR"


def test_types_without_a_code_of_their_own():
    assert sorted(TYPE_FINDING) == ["ARR", "MI", "STTC"]


def test_builders_leave_out_what_is_not_given():
    assert coding("s", "c") == {"system": "s", "code": "c"}
    assert concept(coding("s", "c", "d"), text="t") == {
        "coding": [{"system": "s", "code": "c", "display": "d"}],
        "text": "t",
    }
