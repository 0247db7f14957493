import pytest

from integration.formats.leads import lead_by_code, lead_by_name
from model.ecg import LEADS_12
from model.errors import EcgError


def test_names():
    assert [lead_by_name(lead.upper()) for lead in LEADS_12] == list(LEADS_12)
    assert [lead_by_name(name) for name in ("V3R", "X", "", "II ")] == [None, None, None, "II"]


@pytest.mark.parametrize(
    ("identifier", "lead"),
    [
        (("MDC_ECG_LEAD_AVR", "", "MDC"), "aVR"),
        (("MDC_ECG_ELEC_POTL_V1", "V1", "MDC"), "V1"),
        (("131329", "MDC_ECG_ELEC_POTL_I", "MDC"), "I"),
        (("2:257", "", "MDC"), "I"),
        (("5.6.3-9-61",), "III"),
        (("MDC_ECG_LEAD_V3R", "", "MDC"), None),
        (("131137", "", "MDC"), None),  # -aVR
        (("MDC_PRESS_BLD", "", "MDC"), None),
        (("150016", "", "MDC"), None),
        (("", ""), None),
    ],
)
def test_codes(identifier, lead):
    assert lead_by_code(*identifier) == lead


@pytest.mark.parametrize(
    "identifier", [("MDC_ECG_LEAD_I", "Lead II"), ("131331", "MDC_ECG_ELEC_POTL_III"), ("I", "V1")]
)
def test_code_and_name_must_agree(identifier):
    with pytest.raises(EcgError, match="lead-mismatch"):
        lead_by_code(*identifier)
