"""Reads what is told to Prometheus."""

from prometheus_client.parser import text_string_to_metric_families


def read(page):
    """Return (name, values of its labels in the order of their names) -> number."""
    families = text_string_to_metric_families(page.decode())
    return {
        (sample.name, *dict(sorted(sample.labels.items())).values()): sample.value
        for family in families
        for sample in family.samples
    }
