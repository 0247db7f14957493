import pytest

from integration.errors import Refused
from integration.hl7v2.decode import decode
from tests.hl7_messages import OBR, wcm, wcm_lead

SECOND = ("20260102030400.000+0100", "20260102030401.000+0100")


def packet(n_samples, period, obr=OBR):
    order = obr.rsplit("|", 1)[0] + "|" + "|".join(period)
    return wcm(*wcm_lead("I", "^".join("1" * n_samples)), obr=order)


@pytest.mark.parametrize(
    ("n_samples", "period"),
    [
        (500, SECOND),
        (501, SECOND),
        (520, SECOND),
        (499, SECOND),
        (3, SECOND),  # cut at a gap
        (25, SECOND),
        (300, SECOND),
        (5000, (SECOND[0], "")),
        (5000, ("", SECOND[0])),
        (5000, (SECOND[0], SECOND[0])),
        (5000, SECOND[::-1]),
        (5000, ("20260102", "20260103")),
        (5000, (SECOND[0], "soon")),
        (1000, ("20260102030400", "20260102030401")),  # stamps to the second
        (250, ("20260102030400", "20260102030401")),
    ],
)
def test_packets_that_fit_their_period(n_samples, period):
    assert decode(packet(n_samples, period)).exams[0].ecg.n_samples == n_samples


@pytest.mark.parametrize(
    ("n_samples", "period"),
    [
        (600, SECOND),
        (1000, SECOND),
        (250, SECOND),
        (125, SECOND),
        (250, ("20260102030400.000", "20260102030401.000")),
        (3000, ("20260102030400", "20260102030401")),
        (60_000, ("20260102030400", "20260102030800")),
    ],
)
def test_a_rate_that_start_and_end_contradict(n_samples, period):
    with pytest.raises(Refused, match="rate-conflict") as caught:
        decode(packet(n_samples, period))
    assert caught.value.location == ("OBX", 1, 5)


def test_the_period_of_another_kind_of_order_is_no_packets():
    study = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "93000^ECG^CPT4")
    assert decode(packet(5000, SECOND, study)).exams[0].ecg.n_samples == 5000
