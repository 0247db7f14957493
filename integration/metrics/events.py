"""What workers did, followed along the audit log into counters and histograms."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric

from db.measures import Ended, Event, Judged, Reviewed
from db.store import Store

MAX_SENDERS = 100  # of their own; all further ones are counted together
OTHER = "other"
_PAGE, _PAGES = 1_000, 20  # entries read at one time
_STAGES = ("waiting", "scoring", "delivering", "whole")
_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200)


class Places:
    """Sender -> (site, device), for a limited number of senders."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, sender: str) -> tuple[str, str]:
        """Return who a sender is: of `MSH-3^MSH-4` the second is the site, the first the device."""
        if sender in self._known:
            return self._known[sender]
        if len(self._known) >= MAX_SENDERS:
            return OTHER, OTHER
        device, _, site = sender.partition("^")
        return self._known.setdefault(sender, (site, device))


class Events:
    """Counts from the first time it follows on; not thread-safe."""

    def __init__(self, store: Store) -> None:
        """Take the store whose audit log is followed."""
        self._store = store
        self._number: int | None = None
        self._places = Places()
        self._registry = own = CollectorRegistry()
        self._judged = Counter(
            "hisbundle_assessments_total",
            "ECGs that were assessed since this process began to look",
            ["lane", "verdict", "reason"],
            registry=own,
        )
        self._ended = Counter(
            "hisbundle_deliveries_total",
            "Deliveries that ended since this process began to look",
            ["destination", "outcome"],
            registry=own,
        )
        self._seconds = Histogram(
            "hisbundle_stage_seconds",
            "Of live ECGs: waiting from commit to scoring (with a bed alone, for its patient too), "
            "scoring until the report is stored, delivering from there to a destination's yes, "
            "whole from commit to that yes",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=own,
        )
        self._verdicts = Counter(
            "hisbundle_quality_total",
            "Live ECGs by what the quality gate said of them",
            ["site", "device", "verdict"],
            registry=own,
        )
        self._scores = Histogram(
            "hisbundle_anomaly_score",
            "Anomaly scores of live ECGs",
            ["site", "device"],
            buckets=[n / 10 for n in range(1, 11)],
            registry=own,
        )
        self._reviews = Counter(
            "hisbundle_reviews_total",
            "Reports on which a clinician decided since this process began to look",
            ["site", "device", "decision"],
            registry=own,
        )
        for stage in _STAGES:
            self._seconds.labels(stage)  # a rate needs a first value, 0

    def follow(self) -> None:
        """Read what was written since the last time, or a limited part of it."""
        if self._number is None:
            self._number, _ = self._store.audit_head()
        for _ in range(_PAGES):
            before = self._number
            self._number, events = self._store.happened(before, _PAGE)
            for event in events:
                self._take(event)
            if self._number < before + _PAGE:
                return

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._registry.collect()

    def _take(self, event: Event) -> None:
        match event:
            case Judged():
                self._take_judged(event)
            case Ended():
                self._ended.labels(event.destination, event.outcome).inc()
                if event.outcome == "delivered":
                    self._timed("delivering", event.delivering_s)
                    self._timed("whole", event.whole_s)
            case Reviewed():
                self._reviews.labels(*self._places.of(event.sender), event.decision).inc()

    def _take_judged(self, event: Judged) -> None:
        lane = "live" if event.live else "backlog"
        self._judged.labels(lane, event.verdict, event.reason).inc()
        if not event.live:
            return
        self._timed("waiting", event.waited_s)
        self._timed("scoring", event.scoring_s)
        place = self._places.of(event.sender)
        self._verdicts.labels(*place, event.verdict).inc()
        if event.anomaly_score is not None:
            self._scores.labels(*place).observe(event.anomaly_score)

    def _timed(self, stage: str, seconds: float | None) -> None:
        if seconds is not None:
            self._seconds.labels(stage).observe(seconds)
