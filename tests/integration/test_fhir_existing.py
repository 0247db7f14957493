"""What is here already; over HTTP it is tested with `listeners.fhir_in`."""

import orjson
import pytest

from db.migrate import upgrade
from db.store import Store
from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_existing import existing
from integration.fhir_intake import FhirIntake
from tests.fhir_observations import bundle, component, observation

ECG = observation([component("I", list(range(100)))], identifier=[{"value": "7"}])


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path / 'hisbundle.db'}"
    upgrade(url)
    store = Store.open(url)
    yield store
    store.close()


def test_only_what_was_taken_alone_counts(store):
    intake = FhirIntake(store, None)
    assert existing(store, "7") is None
    intake.answer(orjson.dumps(ECG | {"subject": {}}), Interaction.CREATE, Origin("a"))
    named = bundle(ECG, ECG, identifier={"value": "7"})
    intake.answer(orjson.dumps(named), Interaction.BUNDLE, Origin("b"))
    assert existing(store, "7") is None
    made = intake.answer(orjson.dumps(ECG), Interaction.CREATE, Origin("c"))
    found = existing(store, "7")
    assert (found.status, found.location) == (200, made.location)
    message = bundle({"resourceType": "MessageHeader", "id": "8"}, ECG, type_="message")
    intake.answer(orjson.dumps(message), Interaction.MESSAGE, Origin("d"))
    assert existing(store, "8") is None
    unnamed = ECG | {"identifier": [], "id": "o1"}
    assert intake.answer(orjson.dumps(unnamed), Interaction.CREATE, Origin("e")).status == 201
    assert existing(store, "Observation/o1") is None
    assert existing(store, "x" * 201) is None
    assert existing(store, "\0") is None
