"""What tasks need, opened on first use in the process that uses it: nothing crosses a fork."""

from collections.abc import Mapping
from functools import cached_property

from celery import Celery

from db.store import Store
from integration.config import OruSettings, Settings
from integration.fhir.client import FhirClient
from integration.hl7v2.client import MllpClient
from integration.hl7v2.outbound import OruDestination
from integration.hl7v2.report import Endpoints
from integration.queue import Bell
from integration.security.tls import client_context
from model.assessor import Assessor
from worker.pipeline import Destination, Retry
from worker.watchdog import Watchdog


class Context:
    """One per process; `celery` is only needed to ring."""

    def __init__(self, settings: Settings, celery: Celery) -> None:
        self.settings = settings
        self._celery = celery

    @cached_property
    def store(self) -> Store:
        """The database."""
        return Store.open(self.settings.database)

    @cached_property
    def assessor(self) -> Assessor:
        """The models; loading verifies their bundles."""
        own = self.settings
        return Assessor.load(
            own.model_path, own.strip_model_path, operating_point=own.operating_point
        )

    @cached_property
    def bell(self) -> Bell:
        """Rings follow-up tasks."""
        return Bell(self._celery)

    @cached_property
    def destinations(self) -> Mapping[str, Destination]:
        """Name -> what sends a report there."""
        made: dict[str, Destination] = {}
        fhir = self.settings.fhir
        if fhir.base_url is not None:
            client = FhirClient(fhir.base_url, token=fhir.token, timeout_s=fhir.timeout_s)
            made["fhir"] = client.post_transaction
        if self.settings.oru.host is not None:
            made["oru"] = _oru(self.settings.oru, self.settings.oru.host).send
        return made

    @cached_property
    def retry(self) -> Retry:
        """The delivery rules; the lease outlives every request."""
        delivery = self.settings.delivery
        lease_s = 2 * self.settings.worker.time_limit_s
        return Retry(delivery.max_attempts, delivery.backoff_s, lease_s=lease_s)

    @cached_property
    def watchdog(self) -> Watchdog:
        """Ends this process when a task is stuck."""
        watchdog = Watchdog(self.settings.worker.time_limit_s)
        watchdog.start()
        return watchdog

    def warm_up(self) -> None:
        """Open what the first task would otherwise wait for, before threads race for it."""
        _ = (self.store, self.assessor, self.bell, self.destinations, self.retry, self.watchdog)


def _oru(oru: OruSettings, host: str) -> OruDestination:
    own = oru.tls
    tls = client_context(own.ca, own.certificate, own.key) if own else None
    endpoints = Endpoints(
        oru.sending_application,
        oru.sending_facility,
        oru.receiving_application,
        oru.receiving_facility,
    )
    return OruDestination(lambda: MllpClient(host, oru.port, oru.timeout_s, tls), endpoints)
