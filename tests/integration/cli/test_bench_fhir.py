import json

import pytest
from click.testing import CliRunner

from integration.cli import cli
from integration.cli.bench_fhir import ecg_body, small_body
from integration.fhir.decode import decode


def run(*arguments):
    return CliRunner().invoke(cli, ["bench", "fhir", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def figures():
    return json.loads(run("--bodies", "40", "--connections", "1,3", "--json").stdout)


def test_every_load_is_taken(figures):
    told = [(r["kind"], r["connections"], r["bodies"], r["not_accepted"]) for r in figures["in"]]
    assert told == [("small", 1, 40, 0), ("small", 3, 40, 0), ("ecg", 1, 4, 0), ("ecg", 3, 4, 0)]


def test_the_figures_hang_together(figures):
    for row in figures["in"]:
        assert 0 < row["answer_p50_ms"] <= row["answer_p99_ms"]
        assert 10 < row["resident_before_mib"] < 1000
    assert 0 < figures["decode"]["best_cpu_ms"] <= figures["decode"]["cpu_ms"]
    assert figures["command"] == "hisbundle bench fhir --bodies 40 --connections 1,3"


def test_reports_are_sent_too(figures):
    assert [(r["connections"], r["reports"]) for r in figures["out"]] == [(1, 4), (3, 4)]


def test_a_table_for_people():
    result = run("--bodies", "5", "--connections", "2", "--kind", "small")
    assert "to millivolts" in result.stdout
    assert "small" in result.stdout
    assert "processor ms a report" in result.stdout


def test_the_bodies_are_what_they_say():
    assert decode(small_body()) == ()
    (exam,) = decode(ecg_body())
    assert exam.ecg.voltage_mv.shape == (12, 5000)
    assert 150_000 < len(ecg_body()) < 280_000
