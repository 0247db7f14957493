"""ECGs read from a FHIR server that is not ours: by polling, and when its subscriptions say so."""

import json

import httpx
import pytest
from sekmet.subscriptions.backport import build_subscription, topic_basic

from model.simulate import simulate
from tests.fhir_observations import PATIENT, of_ecg
from tests.fhir_server import running_fhir_server
from tests.patience import PATIENCE_S

TOKEN = "ehr-token-of-some-length"
QUERY = "Observation?code=131328"
TOPIC = "http://sekmet.dev/fhir/SubscriptionTopic/ecg"
NEVER_S = "3600"


class Ehr:
    """The other side."""

    def __init__(self, url):
        self.url = url
        self.patient = self.put({"resourceType": "Patient", "identifier": [PATIENT]})
        self.seed = 0

    def put(self, resource):
        answer = httpx.post(
            f"{self.url}/{resource['resourceType']}", json=resource, timeout=PATIENCE_S
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["location"].partition("/_history")[0].rpartition("/fhir/")[2]

    def get(self, name):
        return httpx.get(f"{self.url}/{name}", timeout=PATIENCE_S).json()

    def record(self):
        """Return the id of a new ECG; each has its own time, as its own seed."""
        self.seed += 1
        when = f"2026-03-01T08:{self.seed:02}:00+01:00"
        subject = {"reference": self.patient}
        ecg = of_ecg(simulate("normal", seed=self.seed), subject=subject, effectiveDateTime=when)
        return self.put(ecg)

    def subscribe(self, installation, payload=None):
        channel = {
            "type": "rest-hook",
            "endpoint": f"http://127.0.0.1:{installation.http_port}/fhir/notify/ehr",
            "header": [f"Authorization: Bearer {TOKEN}"],
        }
        channel |= {"payload": payload} if payload else {}
        made = {"resourceType": "Subscription", "status": "requested", "reason": "ECGs"}
        self.put(made | {"criteria": QUERY, "channel": channel})


@pytest.fixture
def ehr(tmp_path):
    folder = tmp_path / "ehr"
    folder.mkdir()
    with running_fhir_server(folder) as url:
        yield Ehr(url)


def settings(ehr, interval_s):
    source = {
        "BASE_URL": ehr.url,
        "QUERIES": json.dumps([QUERY]),
        "SINCE": "2026-01-01T00:00:00Z",
        "INTERVAL_S": interval_s,
        "SETTLE_S": "0.2",
        "NOTIFY_TOKEN": TOKEN,
    }
    made = {f"SOURCES__EHR__{name}": value for name, value in source.items()}
    return made | {"HTTP__TOKEN": "master-token-of-some-length"}


def sources(installation):
    return installation.tell("fhir", "sources")["sources"][0]


def wait_until_read(installation):
    installation.wait_for(lambda: sources(installation)["read_at"], "a first reading")


def taken(installation, count):
    """Wait for so many ECGs, and return how many messages brought them."""

    def look():
        told = installation.status()
        return told if sum(told["exams"].values()) >= count else None

    told = installation.wait_for(look, f"{count} ECGs")
    assert sum(told["exams"].values()) == count
    return told["messages"]["accepted"]


def test_polling_goes_on_after_a_restart(install, ehr):
    installation = install(**settings(ehr, "1"))
    ehr.record()
    serving = installation.serve("--no-worker")
    assert taken(installation, 1) == 1
    ehr.record()
    assert taken(installation, 2) == 2
    installation.kill(serving.pid)
    serving.wait(PATIENCE_S)
    ehr.record()
    installation.serve("--no-worker")
    assert taken(installation, 3) == 3
    told = sources(installation)
    assert told["problem"] is None
    assert list(told["queries"]) == [QUERY]


@pytest.mark.parametrize("payload", [None, "application/fhir+json"])
def test_a_plain_rest_hook(install, ehr, payload):
    installation = install(**settings(ehr, NEVER_S))
    installation.serve("--no-worker")
    wait_until_read(installation)
    ehr.subscribe(installation, payload)
    ehr.record()
    assert taken(installation, 1) == 1


@pytest.mark.parametrize("content", ["empty", "id-only", "full-resource"])
def test_a_topic_and_a_gap(install, ehr, content):
    installation = install(**settings(ehr, NEVER_S))
    serving = installation.serve("--no-worker")
    wait_until_read(installation)
    ehr.put(topic_basic("ecg", "ECG", "an ECG", "Observation", "true", [("code", "Observation")]))
    endpoint = f"http://127.0.0.1:{installation.http_port}/fhir/notify/ehr"
    header = [f"Authorization: Bearer {TOKEN}"]
    subscription = build_subscription(TOPIC, endpoint, content=content, headers=header)
    name = ehr.put(subscription)

    def is_(status):
        installation.wait_for(lambda: ehr.get(name)["status"] == status, status)

    is_("active")
    ehr.record()
    assert taken(installation, 1) == 1
    installation.kill(serving.pid)  # with its lease, had it been reading
    serving.wait(PATIENCE_S)
    ehr.record()
    is_("error")  # it has given up to tell us
    installation.serve("--no-worker")
    renewed = ehr.get(name) | {"status": "requested"}
    httpx.put(f"{ehr.url}/{name}", json=renewed, timeout=PATIENCE_S).raise_for_status()
    assert taken(installation, 2) == 2

    def heard():
        (told,) = sources(installation)["subscriptions"]
        return told["last_event"] == 2 and told

    assert installation.wait_for(heard, "the other side to count its events")["missed"] == 1
