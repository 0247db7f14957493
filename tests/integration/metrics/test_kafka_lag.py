from prometheus_client import CollectorRegistry, generate_latest

from integration.metrics.kafka_lag import KafkaLag


def test_a_listener_is_asked_when_the_page_is():
    lag = {}
    registry = CollectorRegistry()
    registry.register(KafkaLag(lambda: bool(lag), lambda: lag))
    page = generate_latest(registry)
    assert b"\nhisbundle_kafka_lag_records{" not in page
    assert b"\nhisbundle_kafka_reading 0.0" in page
    lag["ecg-events", 3] = 12
    line = b'hisbundle_kafka_lag_records{partition="3",topic="ecg-events"} 12.0'
    page = generate_latest(registry)
    assert line in page
    assert b"\nhisbundle_kafka_reading 1.0" in page
