"""Families of samples that are made when they are asked for."""

from collections.abc import Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric


def gauge(
    name: str,
    words: str,
    values: Mapping[tuple[str, ...], float],
    labels: Sequence[str] = (),
) -> Metric:
    """Return a gauge of values of its labels -> number."""
    family = GaugeMetricFamily(name, words, labels=list(labels))
    for keys, value in values.items():
        family.add_metric(list(keys), value)
    return family


def single(name: str, words: str, value: float) -> Metric:
    """Return a gauge without labels."""
    return gauge(name, words, {(): value})


def by(label: str, name: str, words: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one label."""
    return gauge(name, words, {(key,): value for key, value in values.items()}, (label,))
