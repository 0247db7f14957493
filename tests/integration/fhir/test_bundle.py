import pytest

from integration.errors import Refused
from integration.fhir.bundle import alone, bundled, references, referred
from integration.fhir.element import Element
from tests.fhir_observations import bundle, full_url

PATIENT = {"resourceType": "Patient", "id": "p"}
HERE, THERE = "https://here.example/fhir/Patient/p", "https://there.example/fhir/Patient/p"


def of(*resources):
    return bundled(Element(bundle(*resources), "Bundle"))


def named(full_url):
    entry = {"fullUrl": full_url, "resource": PATIENT}
    return bundled(Element({"resourceType": "Bundle", "entry": [entry]}, "Bundle"))


@pytest.mark.parametrize("reference", ["Patient/p", HERE, "Patient/p/_history/3"])
def test_found(reference):
    resources = named(HERE)
    (entry,) = resources.entries
    assert resources.find(reference, entry.resource) is entry
    assert entry.resource.path == "Bundle.entry[0].resource"


@pytest.mark.parametrize("reference", [THERE, "Patient/q", "Group/p", "#p", ""])
def test_never_taken_for_another_servers(reference):
    resources = named(HERE)
    assert resources.find(reference, resources.entries[0].resource) is None


@pytest.mark.parametrize(
    ("places", "ordinal"),
    [
        ([THERE], None),  # another server's patient of the same id
        ([HERE, THERE], 0),
        (["urn:uuid:1", THERE], 0),
        ([""], 0),
    ],
)
def test_what_is_relative_is_of_the_containers_own_server(places, ordinal):
    observation = {"resourceType": "Observation", "id": "o"}
    entries = [{"fullUrl": place, "resource": dict(PATIENT)} for place in places]
    entries += [{"fullUrl": HERE.replace("Patient/p", "Observation/o"), "resource": observation}]
    resources = bundled(Element({"resourceType": "Bundle", "entry": entries}, "Bundle"))
    found = resources.find("Patient/p", resources.entries[-1].resource)
    assert found is (None if ordinal is None else resources.entries[ordinal])


def test_two_of_one_name_are_none():
    resources = of(PATIENT, PATIENT)
    assert resources.find("Patient/p", resources.entries[0].resource) is None
    assert resources.find(full_url(1), resources.entries[0].resource) is resources.entries[1]


def test_contained():
    resources = alone({"resourceType": "Observation", "contained": [PATIENT]})
    found = resources.find("#p", resources.entries[0].resource)
    assert (found.kind, found.resource.path) == ("Patient", "Observation.contained[0]")


def test_what_a_resource_refers_to_comes_once():
    observation = {
        "resourceType": "Observation",
        "id": "o",
        "subject": {"reference": full_url(1)},
        "device": {"reference": full_url(2)},
    }
    device = {"resourceType": "Device", "patient": {"reference": full_url(1)}}
    resources = of(observation, PATIENT, device, {"resourceType": "Device", "id": "unrelated"})
    found = list(referred(resources, resources.entries[:1]))
    assert {entry.kind for entry in found} == {"Patient", "Device"}
    assert len(found) == 2


def test_circles_end():
    first = {"resourceType": "Observation", "hasMember": [{"reference": full_url(1)}]}
    second = {"resourceType": "Observation", "derivedFrom": [{"reference": full_url(0)}]}
    resources = of(first, second)
    assert list(referred(resources, resources.entries[:1])) == [resources.entries[1]]


def test_references_of_any_depth():
    node = {"a": [{"reference": "x"}, {"b": {"url": "y", "reference": 3}}]}
    assert set(references(node)) == {"x", "y"}


@pytest.mark.parametrize(
    ("entry", "reason", "place"),
    [
        ({}, "bundle-malformed", "Bundle.entry[0].resource"),
        ({"resource": {}}, "json-malformed", "Bundle.entry[0].resource.resourceType"),
        ({"resource": []}, "field-malformed", "Bundle.entry[0].resource"),
    ],
)
def test_entries_that_are_none(entry, reason, place):
    with pytest.raises(Refused) as caught:
        bundled(Element({"resourceType": "Bundle", "entry": [entry]}, "Bundle"))
    assert (caught.value.reason, caught.value.expression) == (reason, place)
