import pytest

from integration.errors import ANSWERS
from integration.hints import HINTS, hint, hint_of_delivery


@pytest.mark.parametrize("reason", [*ANSWERS, None, "reason-of-tomorrow"])
def test_every_reason_has_a_sentence(reason):
    assert hint(reason).endswith(".")


def test_hints_are_of_reasons_that_exist():
    ours = {"scoring-crashed", "stored-bytes-corrupt", "waveform-corrupt", "undeliverable"}
    ours |= {"destination-denied", "destination-misconfigured", "token-refused"}
    ours |= {f"patient-{what}" for what in ("unknown-there", "ambiguous-there", "system-unknown")}
    ours |= {"report-unsuitable", "destination-conflict", "samples-gone", "delivery-crashed"}
    assert set(HINTS) <= set(ANSWERS) | ours | {"control-id-conflict"}


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ("gave up after 50 tries: timeout", "away"),
        ("destination-denied: status 403", "token"),
        ("destination-misconfigured: status 404", "base_url"),
        ("delivery-crashed: 50 tries had no end", "time_limit_s"),
        ("422 no", "answered"),
    ],
)
def test_deliveries_are_told_apart_by_their_answer(answer, word):
    assert word in hint_of_delivery(answer)
