from datetime import UTC, datetime
from uuid import UUID

import pytest

from db.measures import Ended, Judged, Reviewed
from integration.traces import Traces, spans_of
from tests.collector import running_collector

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ECG = UUID(int=7)
JUDGED = Judged("CART^ED", True, "good", "", 0.5, 0.25, 1.5, NOW, ECG)
ENDED = Ended("ehr", "delivered", 0.5, 2.25, NOW, ECG)


@pytest.fixture(params=[200])
def collector(request):
    with running_collector(request.param) as server:
        yield server


class Log:
    """Stands for a store whose audit log grows."""

    def __init__(self, *pages):
        self.pages = list(pages)
        self.asked = []

    def audit_head(self):
        return 40, "ab" * 32

    def happened(self, after, limit):
        self.asked.append(after)
        return self.pages.pop(0) if self.pages else (after, ())


def traces(log, collector):
    return Traces(log, f"http://127.0.0.1:{collector.server_port}/")


def test_an_ecgs_way_is_one_trace(collector):
    log = Log((42, (JUDGED, ENDED)))
    following = traces(log, collector)
    following.follow()
    following.follow()
    assert log.asked == [40, 42]
    ((path, body),) = collector.got
    assert path == "/v1/traces"
    (resource,) = body["resourceSpans"]
    assert resource["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "hisbundle"}}
    ]
    spans = resource["scopeSpans"][0]["spans"]
    root, wait, score, deliver = spans
    assert [span["name"] for span in spans] == ["ecg", "wait", "score", "deliver ehr"]
    assert {s["traceId"] for s in spans} == {f"{7:032x}"}
    assert {s["parentSpanId"] for s in (wait, score, deliver)} == {root["spanId"]}
    assert len({s["spanId"] for s in spans}) == 4
    assert "parentSpanId" not in root
    assert (root["startTimeUnixNano"], wait["endTimeUnixNano"], root["endTimeUnixNano"]) == (
        "1772366398250000000",
        "1772366398500000000",
        "1772366400000000000",
    )
    assert deliver["startTimeUnixNano"] == "1772366399500000000"
    assert root["attributes"] == [
        {"key": "sender", "value": {"stringValue": "CART^ED"}},
        {"key": "verdict", "value": {"stringValue": "good"}},
    ]


@pytest.mark.parametrize(
    "event",
    [
        Judged("", True, "good", "", 0.5, None, None, NOW, None),
        Judged("CART^ED", True, "good", "", 0.5, None, None, NOW, ECG),
        Ended("ehr", "delivered", None, None, NOW, ECG),
        Reviewed("CART^ED", "confirm"),
    ],
)
def test_what_happens_again_is_gone_or_takes_no_time_makes_no_span(event):
    assert spans_of(event) == []


@pytest.mark.parametrize("collector", [503], indirect=True)
def test_what_a_collector_does_not_take_is_dropped(collector, caplog):
    following = traces(Log((42, (JUDGED,))), collector)
    following.follow()
    assert "traces dropped status=503" in caplog.text


def test_a_collector_that_is_away_is_told(caplog):
    Traces(Log((42, (JUDGED,))), "http://127.0.0.1:1").follow()
    assert "traces dropped error=ConnectError" in caplog.text


def test_it_runs_until_it_is_stopped(collector):
    following = traces(Log((42, (JUDGED,))), collector)
    following.start()
    following.stop()
    following.join(20)
    assert not following.is_alive()
