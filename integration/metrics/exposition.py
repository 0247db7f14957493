"""The page, and what this process counts itself."""

import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import ParamSpec, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.records import Receipt
from db.store import Store
from integration.inbox import BatchInbox
from integration.metrics.stored import Stored

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# They would be a time beside each series, which Prometheus does not ask for.
disable_created_metrics()  # type: ignore[no-untyped-call]

P = ParamSpec("P")
R = TypeVar("R")


class Metrics:
    """One for a process that listens; thread-safe.

    Attributes:
        registry: where further measures of this process are registered.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Take the store that is measured."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge(
            "hisbundle_build_info",
            "Which version this process is; always 1",
            ["version", "python"],
            registry=self.registry,
        )
        build.labels(version("hisbundle"), platform.python_version()).set(1)
        self._answers = self._histogram(
            "hisbundle_answer_seconds",
            "From a message's last byte to its answer, decoded and committed",
            ["protocol"],
        )
        self._commits = self._histogram(
            "hisbundle_commit_seconds", "From a decoded message to its commit", ["protocol"]
        )
        self._requests = self._histogram(
            "hisbundle_http_seconds",
            "From a request's first byte to the end of its answer",
            ["method", "route", "status"],
        )
        self._messages = Counter(
            "hisbundle_messages_total",
            "Messages that this process answered, by what became of them",
            ["protocol", "outcome", "reason"],
            registry=self.registry,
        )
        self.registry.register(Stored(store, clock))

    def _histogram(self, name: str, words: str, labels: Sequence[str]) -> Histogram:
        return Histogram(name, words, labels, registry=self.registry, buckets=_BUCKETS_S)

    def timed(self, protocol: str, answer: Callable[P, R]) -> Callable[P, R]:
        """Return the function, each call of it measured."""
        seconds = self._answers.labels(protocol)

        def measured(*args: P.args, **kwargs: P.kwargs) -> R:
            with seconds.time():
                return answer(*args, **kwargs)

        return measured

    def requested(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request over HTTP: of a known method, by its route, never its URL."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def counted(self, inbox: BatchInbox) -> BatchInbox:
        """Return the inbox, each message that it takes counted and timed."""
        return _Counted(inbox, self._messages, self._commits)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Counted:
    """An inbox that counts."""

    def __init__(self, inner: BatchInbox, messages: Counter, commits: Histogram) -> None:
        self._inner, self._messages, self._commits = inner, messages, commits

    def accept(self, incoming: Incoming, *, rung: bool = False) -> Receipt:
        """Keep a message and count what became of it."""
        (receipt,) = self.accept_all([incoming], rung=rung)
        return receipt

    def accept_all(self, incoming: Sequence[Incoming], *, rung: bool = False) -> list[Receipt]:
        """Keep messages and count what became of each."""
        began = time.perf_counter()
        try:
            receipts = self._inner.accept_all(incoming, rung=rung)
        except StoreUnavailable as error:
            for one in incoming:
                self._messages.labels(one.message.protocol, "put-off", error.reason).inc()
            raise
        seconds = time.perf_counter() - began
        for one, receipt in zip(incoming, receipts, strict=True):
            self._commits.labels(one.message.protocol).observe(seconds)
            outcome = "duplicate" if receipt.duplicate else one.state.value
            self._messages.labels(one.message.protocol, outcome, one.reason or "").inc()
        return receipts
