"""Alerts and dashboard ask only for what the page has; the runbook has an entry for each alert."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import promql_parser as promql
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from db.circuits import Circuit
from db.clinical import Incoming
from db.measures import Ended, Judged, Reviewed, Spread
from db.records import MessageState, NewMessage
from db.store import Store
from integration.metrics import Metrics
from integration.metrics.kafka_lag import KafkaLag
from tests.databases import new_database
from tests.integration.metrics.conftest import NOW

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
SERIES = Path(__file__).with_name("alerts.test.yaml")
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "hisbundle.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
EXPRESSION = {rule["alert"]: rule["expr"] for rule in ALERTS}
EXPRESSIONS = [*EXPRESSION.values()] + [target["expr"] for target in TARGETS]
ADDED_BY_PROMETHEUS = {"job", "instance"}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Name of each sample that a page can have -> names of its labels."""
    url = new_database(tmp_path_factory.mktemp("store") / "test.db")
    store = Store.open(url)
    metrics = Metrics(store)
    metrics.registry.register(KafkaLag(lambda: True, lambda: {("ecg", 0): 7}))
    for n, state in enumerate((MessageState.NOT_ECG, MessageState.REFUSED)):
        message = NewMessage.whole("mllp", "A^B", f"{n}", b"MSH", NOW)
        metrics.counted(store).accept(Incoming(message, state, "reason", b"AA"))
    metrics.timed("mllp", str)(1)
    metrics.requested("GET", "/readyz", 200, 0.1)
    one = {"fhir": 1}
    queues = replace(store.queues(NOW), due=one, oldest_due_s=one, lost=one)
    spread = Spread((300, 0, 0), (30,) * 10)
    judged = Judged("A^B", True, "good", "", 0.5, 1.0, 1.0, NOW, None)
    ended = Ended("fhir", "delivered", 1.0, 1.0, NOW, None)
    events = (judged, ended, Reviewed("A^B", "confirm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "queues", lambda _: queues)
        patch.setattr(store, "circuits", lambda: (Circuit("fhir", 3, NOW, 1),))
        patch.setattr(store, "happened", lambda after, _: (after, events))
        patch.setattr(store, "spreads", lambda *_: {"A^B": spread})
        page = metrics.page().decode()
    store.close()
    found = {"up": set()}  # Prometheus' own
    for family in text_string_to_metric_families(page):
        assert family.samples, f"{family.name} is not made to show itself here"
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def selectors(expression):
    """Return what an expression selects, and by which labels it groups."""
    found, grouped = [], []

    def look(node):
        for name in ("lhs", "rhs", "expr", "param", "selector"):
            if (below := getattr(node, name, None)) is not None and not isinstance(below, str):
                look(below)
        for below in getattr(node, "args", None) or ():
            look(below)
        if isinstance(node, promql.MatrixSelector):
            look(node.vector_selector)
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            grouped.extend(node.modifier.labels)

    # It stands for what Grafana puts there.
    look(promql.parse(expression.replace("$__rate_interval", "5m")))
    return found, grouped


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_every_expression_asks_for_what_there_is(expression, samples):
    found, grouped = selectors(expression)
    assert found
    for selector in found:
        assert selector.name in samples
        known = samples[selector.name] | ADDED_BY_PROMETHEUS
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked | set(grouped) <= known


def test_everything_of_ours_is_on_the_dashboard(samples):
    shown = {s.name for target in TARGETS for s in selectors(target["expr"])[0]}
    ours = {name for name in samples if name.startswith("hisbundle_")}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    on_alerts_alone = {
        "hisbundle_up",
        "hisbundle_refusing",
        "hisbundle_conflicts",
        "hisbundle_failed_ecgs",
        "hisbundle_kafka_lag_records",
        "hisbundle_kafka_reading",
    }
    assert ours - shown == on_alerts_alone


def maxima(node):
    """Return each `max by` in an expression, with what it selects."""
    below = [getattr(node, name, None) for name in ("lhs", "rhs", "expr")]
    below += getattr(node, "args", None) or ()
    found = [one for part in below if part is not None for one in maxima(part)]
    if isinstance(node, promql.AggregateExpr) and str(node.op) == "max":
        return [node, *found]
    return found


@pytest.mark.parametrize("expression", sorted({e for e in EXPRESSIONS if "max by" in e}))
def test_a_maximum_over_listeners_is_over_nothing_else(expression, samples):
    made = maxima(promql.parse(expression.replace("$__rate_interval", "5m")))
    assert made
    for maximum in made:
        (selector,) = selectors(maximum.prettify())[0]
        pinned = {m.name for m in selector.matchers.matchers if str(m.op) == "MatchOp.Equal"}
        assert samples[selector.name] - pinned <= set(maximum.modifier.labels)


@pytest.mark.parametrize("name", ["HisbundleSilence", "HisbundleHttpErrors"])
def test_an_alert_sees_a_counter_that_began_with_its_first_event(name):
    expression = "".join(EXPRESSION[name].split())
    counter, window = re.search(r"increase\((.+?)\[(\w+)\]\)", expression).groups()
    assert f"({counter}unless{counter}offset{window})" in expression


def test_silence_is_told_where_no_message_ever_came():
    total, _, limits = EXPRESSION["HisbundleSilence"].partition(" == 0 ")
    assert total.endswith(" or vector(0))"), "without a message there is no series to add up"
    names = {selector.name for selector in selectors(limits.partition(" and on() ")[2])[0]}
    assert names == {"process_start_time_seconds"}, "and it is not told at once"


def test_every_alert_has_a_time_when_it_fires():
    told = "".join(re.findall(r"exp_samples.*|labels: .*", SERIES.read_text()))
    assert set(re.findall(r'alertname="(\w+)"', told)) == set(EXPRESSION)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: prometheus)")
def test_alerts_fire_when_they_should_and_not_before():
    command = ["promtool", "test", "rules", SERIES]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_is_in_the_runbook(alert):
    name = alert["alert"]
    assert alert["annotations"]["runbook"] == f"deploy/RUNBOOK.md#{name.lower()}"
    assert alert["labels"]["severity"] in {"page", "ticket"}
    runbook = (DEPLOY / "RUNBOOK.md").read_text()
    _, heading, entry = runbook.partition(f"\n### {name}\n")
    assert heading, "no entry"
    words = entry.partition("\n#")[0]
    assert len(words.split()) >= 15, "it says what it means and what to do"


def test_the_runbook_knows_no_alert_that_is_not_there():
    told = re.findall(r"^### (Hisbundle\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert told == [rule["alert"] for rule in ALERTS]


def test_the_dashboard_is_provisioned():
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    used = {p["datasource"]["uid"] for p in DASHBOARD["panels"] if "datasource" in p}
    assert used == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "hisbundle.yaml").read_text())[
        "providers"
    ]
    compose = yaml.safe_load((DEPLOY / "compose.full.yaml").read_text())
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_prometheus_reads_the_alerts_and_finds_the_listeners():
    told = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert told["rule_files"] == ["alerts.yaml"]
    (scrape,) = told["scrape_configs"]
    compose = yaml.safe_load((DEPLOY / "compose.full.yaml").read_text())
    assert scrape["dns_sd_configs"][0]["names"][0] in compose["services"]
    assert scrape["job_name"] == "hisbundle"
