"""How far this process is behind in the partitions that it reads."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from integration.metrics.families import gauge


class KafkaLag(Collector):
    """Asks a listener whenever it is asked."""

    def __init__(self, lag: Callable[[], Mapping[tuple[str, int], int]]) -> None:
        """Take what returns topic and partition -> records not stored yet."""
        self._lag = lag

    def collect(self) -> Iterable[Metric]:
        """Return the family."""
        yield gauge(
            "hisbundle_kafka_lag_records",
            "Records of the partitions that this process reads, not stored yet; add them up over "
            "listeners",
            {(topic, str(partition)): n for (topic, partition), n in self._lag().items()},
            ("topic", "partition"),
        )
