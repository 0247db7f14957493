import pickle
import re
from pathlib import Path

import pytest

from integration.errors import ANSWERS, Refused, TryLater, answer_to, as_refused
from model.errors import EcgError, HisbundleError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("reason", ANSWERS)
def test_every_answer_speaks_each_protocol(reason):
    answer = answer_to(reason)
    assert answer.ack in {"AE", "AR"}
    assert re.fullmatch(r"[12]0\d", answer.hl7_code)
    assert 400 <= answer.http_status < 600
    # AE invites the same bytes again, and so does a 5xx; AR and 4xx do not. Bytes outside a
    # character set may come again once the sender's set is in the settings; JSON has but one set.
    assert (answer.ack == "AE") == (answer.http_status >= 500 or reason == "charset-undecodable")


def test_an_unlisted_reason_is_our_fault():
    assert answer_to("never-heard-of") == ANSWERS["internal-error"]


def test_every_ecg_fault_has_its_answer():
    source = (ROOT / "model" / "ecg.py").read_text()
    reasons = set(re.findall(r'EcgError\("([a-z-]+)"', source))
    assert reasons
    assert reasons <= set(ANSWERS)


def test_a_contradiction_in_an_ecg_is_the_senders_fault():
    refused = as_refused(EcgError("lead-duplicate", "a lead appears twice"), ("OBX", 3, 5))
    assert (refused.reason, refused.location) == ("lead-duplicate", ("OBX", 3, 5))


@pytest.mark.parametrize("kind", [HisbundleError, EcgError, Refused, TryLater])
def test_errors_cross_processes(kind):
    error = pickle.loads(pickle.dumps(kind("some-reason", "words")))  # noqa: S301 - what Celery does
    assert (type(error), error.reason, error.detail) == (kind, "some-reason", "words")
