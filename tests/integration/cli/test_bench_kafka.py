import json

import pytest
from click.testing import CliRunner

from integration.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["bench", "kafka", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def figures(kafka_cluster):
    options = ("--events", "6", "--batch", "2,4", "--senders", "1,3", "--partitions", "2")
    return json.loads(run(*options, "--servers", kafka_cluster.servers, "--json").stdout)


def test_every_event_was_stored_and_every_result_sent(figures):
    assert [(row["batch"], row["events"]) for row in figures["in"]] == [(2, 6), (4, 6)]
    told = [(row["senders"], row["format"], row["results"]) for row in figures["out"]]
    assert told == [(1, "event", 6), (1, "fhir", 6), (3, "event", 6), (3, "fhir", 6)]


def test_the_figures_hang_together(figures):
    for row in figures["in"] + figures["out"]:
        assert row["per_second"] > 0
        assert 10 < row["resident_before_mib"] < 5000
        assert row["resident_after_mib"] > 10
        assert row["cpu_ms"] > 0
    assert {row["bytes"] for row in figures["in"]} <= set(range(160_900, 161_000))
    assert figures["command"] == (
        "hisbundle bench kafka --events 6 --batch 2,4 --senders 1,3 --partitions 2"
    )


def test_a_table_for_people(kafka_cluster):
    options = ("--events", "2", "--batch", "2", "--senders", "1")
    result = run(*options, "--servers", kafka_cluster.servers)
    assert "Events a second" in result.stdout
    assert "fhir" in result.stdout


@pytest.mark.parametrize("text", ["none", "0", "100000"])
def test_batches_are_numbers(text):
    result = CliRunner().invoke(cli, ["bench", "kafka", "--batch", text])
    assert result.exit_code == 2
    assert "batch" in result.output
