import pytest

from db.clinical import BedMove, Clinical, NewResult, OrderRef
from db.records import Bed, PatientRef
from model.errors import EcgError
from tests.db.conftest import NOW

CANARY = PatientRef("ZZCANARY", "ZZCANARY")


def test_no_repr_tells_a_patient():
    told = Clinical(
        (NewResult(CANARY, (), ("ZZCANARY",), NOW, "ZZCANARY", "ZZCANARY"),),
        (BedMove(CANARY, NOW, Bed("ZZCANARY", "ZZCANARY")),),
        (OrderRef(CANARY, "ZZCANARY", "ZZCANARY"),),
    )
    assert "CANARY" not in repr(told)


@pytest.mark.parametrize("bad", ["a\0b", "x" * 251, "\ud800"])
def test_what_cannot_be_kept_is_refused(bad):
    for make in (
        lambda: Bed(bad),
        lambda: Bed("a", bad),
        lambda: OrderRef(CANARY, bad),
        lambda: OrderRef(CANARY, "a", bad),
        lambda: NewResult(CANARY, (), (), NOW, bad),
        lambda: NewResult(CANARY, (), (), NOW, "a", bad),
    ):
        with pytest.raises(EcgError, match="field-malformed"):
            make()
