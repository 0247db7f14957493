import pytest
from fhir.resources.R4B import get_fhir_model_class

from db.store import Store
from integration.listeners.http import create_app
from tests.databases import new_database
from tests.integration.listeners.reports import EXAMS, request, stored


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    url = new_database(tmp_path_factory.mktemp("store") / "hisbundle.db")
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def exam_ids(reports):
    return [str(stored(reports, i, *exam)) for i, exam in enumerate(EXAMS)]


@pytest.fixture
def get(reports, exam_ids):
    app = create_app(reports)

    def ask(path, status=200, **options):
        answer = request(app, path, **options)
        assert answer.status_code == status, answer.text
        if path.startswith("/fhir"):
            assert answer.headers["content-type"] == "application/fhir+json"
            body = answer.json()
            get_fhir_model_class(body["resourceType"]).model_validate(body)
        assert answer.headers["cache-control"] == "no-store"
        return answer

    return ask
