"""The CapabilityStatement against the interface it describes: all of it works, and nothing else."""

import asyncio
import itertools

import httpx
import pytest

from db.store import Store
from integration.fhir_intake import FhirIntake
from integration.listeners.bodies import Bodies
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.http import create_app
from tests.databases import new_database
from tests.fhir_observations import bundle, component, observation

ECG = observation([component("I", list(range(100)))])
HEADER = {"resourceType": "MessageHeader", "id": "1", "eventUri": "urn:x"}
HEADER["source"] = {"endpoint": "urn:cart"}
NOBODY = "00000000-0000-0000-0000-000000000000"
VALUES = {"_id": NOBODY, "identifier": NOBODY, "patient": "urn:x|1", "date": "ge2026-01-01"}
FORM = {"content_type": "application/x-www-form-urlencoded"}
KINDS = ("DiagnosticReport", "Observation", "Device", "Provenance", "Binary", "Media", "Patient")
KINDS += ("DocumentReference", "Bundle", "Subscription")


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    url = new_database(tmp_path_factory.mktemp("store") / "hisbundle.db")
    store = Store.open(url)
    app = create_app(store, door=FhirDoor(FhirIntake(store, None), Bodies(2**20), store))

    def run(method, path, body=None, **headers):
        async def send():
            transport = httpx.ASGITransport(app)
            base = "http://127.0.0.1/fhir"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                named |= {"content-type": "application/fhir+json"} if body else {}
                return await client.request(method, path, json=body, headers=named)

        return asyncio.run(send())

    yield run
    store.close()


@pytest.fixture(scope="module")
def rest(ask):
    return ask("GET", "/metadata").json()["rest"][0]


def interactions(rest):
    return {r["type"]: {i["code"] for i in r["interaction"]} for r in rest["resource"]}


def is_served(answer):
    return answer.status_code < 400


class TestEverythingSaid:
    def test_formats(self, ask):
        for kind in ask("GET", "/metadata").json()["format"]:
            assert ask("GET", "/metadata", accept=kind).headers["content-type"] == kind

    @pytest.mark.parametrize("type_", ["batch", "transaction"])
    def test_of_the_system(self, ask, rest, type_):
        assert {"code": type_} in rest["interaction"]
        assert len(rest["interaction"]) == 2
        assert is_served(ask("POST", "", bundle(ECG, type_=type_)))

    def test_operations(self, ask, rest):
        names = {operation["name"] for operation in rest["operation"]}
        assert names == {"process-message"}
        message = bundle(HEADER, ECG, type_="message")
        assert is_served(ask("POST", "/$process-message", message))

    def test_creates(self, ask, rest):
        creating = {kind for kind, codes in interactions(rest).items() if "create" in codes}
        assert creating == {"Observation"}
        made = ask("POST", "/Observation", ECG)
        assert is_served(made)
        assert is_served(ask("GET", made.headers["location"].partition("/fhir")[2]))

    def test_conditions(self, ask, rest):
        conditional = {r["type"] for r in rest["resource"] if r.get("conditionalCreate")}
        assert conditional == {"Observation"}
        ecg = ECG | {"identifier": [{"value": "1"}]}
        statuses = [
            ask("POST", "/Observation", ecg, if_none_exist="identifier=1").status_code
            for _ in range(2)
        ]
        assert statuses == [201, 200]
        assert ask("POST", "/Observation", ecg, if_none_exist="identifier=1").status_code == 200

    def test_searches(self, ask, rest):
        for resource in rest["resource"]:
            for parameter in resource.get("searchParam", []):
                query = f"/{resource['type']}?{parameter['name']}={VALUES[parameter['name']]}"
                assert is_served(ask("GET", query)), query
            for include in resource.get("searchInclude", []):
                assert is_served(ask("GET", f"/{resource['type']}?_include={include}"))
            if {"code": "search-type"} in resource["interaction"]:
                assert is_served(ask("POST", f"/{resource['type']}/_search", **FORM))


class TestNothingElse:
    def test_searches(self, ask, rest):
        for kind in KINDS:
            searched = "search-type" in interactions(rest).get(kind, ())
            assert is_served(ask("GET", f"/{kind}")) == searched, kind

    @pytest.mark.parametrize("name", ["code", "status", "category", "_lastUpdated", "_sort"])
    def test_search_parameters(self, ask, name):
        assert ask("GET", f"/DiagnosticReport?{name}=1").status_code == 400

    @pytest.mark.parametrize("kind", KINDS)
    def test_creates(self, ask, rest, kind):
        made = ask("POST", f"/{kind}", ECG | {"resourceType": kind})
        assert is_served(made) == ("create" in interactions(rest).get(kind, ())), kind

    @pytest.mark.parametrize(
        ("method", "kind"), [*itertools.product(("PUT", "PATCH", "DELETE"), KINDS)]
    )
    def test_changes(self, ask, method, kind):
        assert ask(method, f"/{kind}/{NOBODY}").status_code in {404, 405}

    @pytest.mark.parametrize("path", ["/_history", "/Observation/1/_history", "/Patient/1/$x", ""])
    def test_other_reads(self, ask, path):
        assert ask("GET", path).status_code in {404, 405}
