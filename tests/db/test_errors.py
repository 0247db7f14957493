import pickle

import pytest

from db.errors import Corrupt, NotFound, StoreUnavailable, StoreUnusable
from model.errors import HisbundleError


@pytest.mark.parametrize("kind", [Corrupt, NotFound, StoreUnavailable, StoreUnusable])
def test_a_fault_crosses_processes(kind):
    back = pickle.loads(pickle.dumps(kind("a-reason", "a detail")))  # noqa: S301 - as Celery's pool
    assert type(back) is kind
    assert isinstance(back, HisbundleError)
    assert (back.reason, back.detail, str(back)) == ("a-reason", "a detail", "a-reason: a detail")
