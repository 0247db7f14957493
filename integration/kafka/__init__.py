"""Kafka: ECG events in, results out."""
