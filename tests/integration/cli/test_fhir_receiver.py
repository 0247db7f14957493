import pytest

from integration.cli.fhir_receiver import FhirReceiver
from integration.errors import TryLater
from integration.fhir.client import FhirClient
from integration.fhir.report import build_report


def test_a_report_is_created_once_and_every_post_counted(exam, findings_of, issued):
    bundle = build_report(exam, findings_of("flagged"), issued=issued)
    with FhirReceiver() as receiver:
        client = FhirClient(receiver.url)
        receiver.status = 503
        with pytest.raises(TryLater, match="503"):
            client.post_transaction(bundle)
        receiver.status = None
        assert [client.post_transaction(bundle) for _ in range(2)] == ["201", "200"]
        client.close()
    assert receiver.posts == {str(exam.id): 2}
    assert receiver.order == [str(exam.id)]
