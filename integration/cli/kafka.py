"""`hisbundle kafka`: one command a thing to look at."""

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from integration.cli.access import needs
from integration.config import load_settings
from integration.errors import ConfigError
from integration.kafka.health import Lag, TopicHealth, lags_of, topics_of, uses_of
from integration.kafka.settings import KafkaSettings
from integration.security.roles import Role


@click.group()
def kafka() -> None:
    """Look after the topics that are read."""


@kafka.command()
@click.option("--json", "as_json", is_flag=True, help="print it as JSON")
@needs(Role.VIEWER)
def check(*, as_json: bool) -> None:
    """Tell whether the cluster is there, its topics usable, and how far the listeners are behind.

    Ends with 1 at a fault, or where the cluster cannot be reached.
    """
    settings = load_settings().kafka
    if not settings.bootstrap_servers:
        raise ConfigError("kafka-missing", "kafka.bootstrap_servers is not set")
    topics = topics_of(settings, uses_of(settings))
    lags = lags_of(settings)
    if as_json:
        click.echo(json.dumps(_figures(settings, topics, lags), indent=2))
    else:
        _print(settings, topics, lags)
    sys.exit(any(topic.problem for topic in topics))


def _figures(settings: KafkaSettings, topics: list[TopicHealth], lags: list[Lag]) -> dict[str, Any]:
    return {
        "group": settings.group,
        "topics": [asdict(topic) for topic in topics],
        "lag": [asdict(lag) | {"records": lag.records} for lag in lags],
    }


def _print(settings: KafkaSettings, topics: list[TopicHealth], lags: list[Lag]) -> None:
    for topic in topics:
        click.echo(f"{topic.name} ({topic.use.lower()}, {topic.partitions} partitions): ", nl=False)
        click.echo(topic.problem or "ok")
    for lag in lags:
        at = "nothing committed yet" if lag.committed is None else f"committed {lag.committed}"
        told = f"{at}, end {lag.end}, {lag.records} behind"
        click.echo(f"{lag.topic} {lag.partition} of group {settings.group}: {told}")
