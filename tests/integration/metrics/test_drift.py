from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from db.measures import Spread
from integration.metrics.drift import look_for_drift, stability
from tests.integration.metrics.conftest import NOW
from tests.integration.metrics.pages import read

EVEN = (40,) * 10


class Families:
    def __init__(self, families):
        self._families = families

    def collect(self):
        return self._families


def test_drift_is_told_of_senders_with_enough_ecgs(store, monkeypatch):
    usual = {
        "CART^A": Spread((396, 0, 4), EVEN),
        "CART^B": Spread((396, 0, 4), EVEN),
        "CART^D": Spread((50, 0, 0), (5,) * 10),
    }
    recent = {
        "CART^A": Spread((150, 120, 30), (0,) * 9 + (270,)),
        "CART^B": Spread((297, 0, 3), (30,) * 10),
        "CART^C": Spread((300, 0, 0), (30,) * 10),
        "CART^D": Spread((300, 0, 0), (30,) * 10),
        "CART^E": Spread((0, 0, 19), (0,) * 10),
        "CART^F": Spread((15, 0, 5), (2,) * 5 + (1,) * 5),
    }
    asked = {
        (NOW - timedelta(days=1), NOW): recent,
        (NOW - timedelta(days=29), NOW - timedelta(days=1)): usual,
    }
    monkeypatch.setattr(store, "spreads", lambda since, until: asked[since, until])
    registry = CollectorRegistry()
    registry.register(Families(look_for_drift(store, NOW)))
    found = read(generate_latest(registry))
    assert found["hisbundle_unscorable_share", "CART", "A"] == pytest.approx(0.1)
    assert found["hisbundle_score_drift", "CART", "A"] > 0.25
    assert found["hisbundle_quality_drift", "CART", "A"] > 0.25
    assert found["hisbundle_score_drift", "CART", "B"] == pytest.approx(0, abs=1e-3)
    assert found["hisbundle_quality_drift", "CART", "B"] == pytest.approx(0, abs=1e-3)
    assert ("hisbundle_unscorable_share", "CART", "E") not in found
    assert found["hisbundle_unscorable_share", "CART", "F"] == pytest.approx(0.25)
    for site in "CD":
        assert found["hisbundle_unscorable_share", "CART", site] == 0
        assert ("hisbundle_score_drift", "CART", site) not in found


def test_the_index_is_nought_for_the_same_and_grows_with_the_difference():
    assert stability((10, 10), (20, 20)) == pytest.approx(0, abs=1e-9)
    # (0.6 - 0.4) ln(0.6 / 0.4) + (0.4 - 0.6) ln(0.4 / 0.6), but for the halves
    assert stability((6000, 4000), (4000, 6000)) == pytest.approx(0.1622, abs=1e-4)
    assert stability((0, 100), (100, 0)) > 1
