from prometheus_client import CollectorRegistry, generate_latest

from integration.metrics.kafka_lag import KafkaLag


def test_the_lag_is_asked_for_when_the_page_is():
    lag = {}
    registry = CollectorRegistry()
    registry.register(KafkaLag(lambda: lag))
    assert b"\nhisbundle_kafka_lag_records{" not in generate_latest(registry)
    lag["ecg-events", 3] = 12
    line = b'hisbundle_kafka_lag_records{partition="3",topic="ecg-events"} 12.0'
    assert line in generate_latest(registry)
