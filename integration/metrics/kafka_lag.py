"""Whether this process reads its topics, and how far it is behind in its partitions."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from integration.metrics.families import gauge, single


class KafkaLag(Collector):
    """Asks a listener whenever it is asked."""

    def __init__(
        self, reading: Callable[[], bool], lag: Callable[[], Mapping[tuple[str, int], int]]
    ) -> None:
        """Take what a listener tells.

        Args:
            reading: returns whether the brokers let it read.
            lag: returns topic and partition -> records not stored yet.
        """
        self._reading, self._lag = reading, lag

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        yield single(
            "hisbundle_kafka_reading",
            "Whether the brokers let this process read its topics",
            float(self._reading()),
        )
        yield gauge(
            "hisbundle_kafka_lag_records",
            "Records of the partitions that this process reads, not stored yet; add them up over "
            "listeners",
            {(topic, str(partition)): n for (topic, partition), n in self._lag().items()},
            ("topic", "partition"),
        )
