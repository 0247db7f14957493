import json

import pytest
from click.testing import CliRunner

from integration.cli import cli
from integration.cli.bench_mllp import PEER, ecg_message, small_message
from integration.hl7v2.decode import decode


def run(*arguments):
    return CliRunner().invoke(cli, ["bench", "mllp", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def figures():
    options = ("--messages", "40", "--connections", "1,3")
    return json.loads(run(*options, "--json").stdout)


def test_each_load_meets_each_server(figures):
    told = {(r["server"], r["kind"], r["connections"], r["messages"]) for r in figures["runs"]}
    loads = [("small", 1, 40), ("small", 3, 40), ("ecg", 1, 4), ("ecg", 3, 4)]
    assert told == {(server, *load) for server in ("hisbundle", PEER) for load in loads}


def test_every_message_was_accepted(figures):
    assert {row["not_accepted"] for row in figures["runs"]} == {0}


def test_the_figures_hang_together(figures):
    for row in figures["runs"]:
        assert 0 < row["ack_p50_ms"] <= row["ack_p99_ms"]
        assert row["per_second"] <= row["connections"] * 1000 / row["ack_p50_ms"] * 2
        assert 10 < row["resident_before_mib"] < 1000
        assert row["resident_after_mib"] > 10
    assert figures["command"] == "hisbundle bench mllp --messages 40 --connections 1,3"
    assert figures["machine"]["cores"] >= 1


def test_a_table_for_people():
    result = run("--messages", "5", "--connections", "2", "--kind", "small", "--no-peer")
    assert "hisbundle" in result.stdout
    assert "small" in result.stdout
    assert "ecg" not in result.stdout


@pytest.mark.parametrize("text", ["none", "0", "1000", "1,,2"])
def test_connections_are_numbers(text):
    result = CliRunner().invoke(cli, ["bench", "mllp", "--connections", text])
    assert result.exit_code == 2
    assert "connections" in result.output


def test_the_messages_are_what_they_say():
    assert decode(small_message()).exams == ()
    (exam,) = decode(ecg_message()).exams
    assert exam.ecg.voltage_mv.shape == (12, 5000)
    assert 250_000 < len(ecg_message()) < 280_000
