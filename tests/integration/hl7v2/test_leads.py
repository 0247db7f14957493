import pytest

from integration.errors import Refused
from integration.hl7v2.leads import OTHER, lead_of, scalar_lead
from model.ecg import LEADS_12

PLACE = ("OBX", 3, 3)
NUMBERS = (1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8)


def identify(text):
    return lead_of(text.split("^"), PLACE)


@pytest.mark.parametrize(("lead", "n"), list(zip(LEADS_12, NUMBERS, strict=True)))
def test_every_lead_by_every_code_and_name(lead, n):
    for text in (
        f"{131072 + n}^MDC_ECG_LEAD_{lead}^MDC",
        f"{131328 + n}^MDC_ECG_ELEC_POTL_{lead.upper()}^MDC",
        f"{131328 + n}^^MDC",
        f"{131328 + n}",
        f"2:{256 + n}^MDC_ECG_ELEC_POTL_{lead}^MDC",
        f"5.6.3-9-{n}^Lead {lead}^SCPECG",
        f"^MDC_ECG_LEAD_{lead}^MDC",
        f"0^MDC_ECG_LEAD_{lead}^MDC",
        f"MDC_ECG_LEAD_{lead}^MDC_ECG_LEAD_{lead}^Local",
        f"{lead}^Lead {lead}^99X",
        f"17^ECG lead {lead.lower()}^99X",
        f"131329000^ECG_{lead}^99X",
        f"X^^99X^{131328 + n}^MDC_ECG_LEAD_{lead}^MDC",
    ):
        assert identify(text) == lead


@pytest.mark.parametrize(
    ("name", "lead"),
    [("D1", "I"), ("DII", "II"), ("D3", "III"), ("lead v4 waveform", "V4"), ("ABLEITUNG I", "I")],
)
def test_other_ways_to_write_a_name(name, lead):
    assert identify(f"^{name}") == lead


@pytest.mark.parametrize(
    "text",
    [
        "131331^MDC_ECG_LEAD_III^MDC",  # V1's code
        "131330^PLETH^MDC",
        "131330^MDC_PULS_OXIM_PLETH^MDC",
        "150452^MDC_ECG_LEAD_I^MDC",
        "131329^Lead II^MDC",
        "131329^something^MDC",
        "131329^Lead -I^MDC",
        "I^Lead II^99X",
        "131329^MDC_ECG_LEAD_I^MDC^V1^V1^99X",
        "150452^MDC_PULS_OXIM_PLETH^MDC^131329^MDC_ECG_LEAD_I^MDC",
    ],
)
def test_code_and_name_that_disagree(text):
    with pytest.raises(Refused, match="lead-mismatch") as caught:
        identify(text)
    assert caught.value.location == PLACE


@pytest.mark.parametrize(
    "text",
    [
        "131137^MDC_ECG_LEAD_aVR^MDC",  # -aVR, whose display drops the minus
        "131393^MDC_ECG_ELEC_POTL_AVR^MDC",
        *(f"{n}^MDC_ECG_LEAD_I^MDC" for n in (*range(131103, 131111), *range(131183, 131187))),
        *(f"{n}^Lead I^99VENDOR" for n in range(131310, 131316)),
        "131072^^MDC",
        "^MDC_ECG_LEAD_V3R^MDC",
        "131337^^MDC",
        "131337^MDC_ECG_ELEC_POTL_V8^MDC",
        "^MDC_ECG_ELEC_POTL_^MDC",
        "5.6.3-9-65^-aVR^SCPECG",
    ],
)
def test_ecg_leads_that_are_none_of_the_twelve(text):
    with pytest.raises(Refused, match="lead-unknown"):
        identify(text)


@pytest.mark.parametrize(
    "text",
    [
        "150452^MDC_PULS_OXIM_PLETH^MDC",
        "^MDC_PRESS_BLD_ART^MDC",
        "150456^^MDC",
        "131337^MDC_ECG_ELEC_POTL_V7^MDC",
        "131084^MDC_ECG_LEAD_V4R^MDC",
        "131138^V8",
        "2:67^Lead V9",
    ],
)
def test_what_is_certainly_none_of_the_twelve(text):
    assert identify(text) == OTHER


@pytest.mark.parametrize(
    "text", ["", "27^^CAPSULE", "1^ONE^99SVL", "^-aVR", "^Lead-I", "^V7", "^MLII", "8867-4^HR^LN"]
)
def test_what_nobody_knows(text):
    assert identify(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("131329^MDC_ECG_ELEC_POTL_I^MDC", True),
        ("131137^^MDC", True),
        ("MDC_ECG_LEAD_I^MDC_ECG_LEAD_I^Local", True),
        ("I^I^99X", False),
        ("8867-4^Heart rate^LN", False),
        ("147842^MDC_ECG_HEART_RATE^MDC", False),
        ("", False),
    ],
)
def test_only_mdc_names_make_a_number_look_like_a_lead(text, expected):
    assert scalar_lead(text.split("^")) is expected
