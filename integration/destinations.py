"""Opens what the settings name as destinations of reports."""

import math
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from db.store import Store
from integration.config import DestinationSettings
from integration.deadline import all_within
from integration.fhir.before import Before, History, before, nothing_before
from integration.fhir.client import FhirClient
from integration.fhir.codes import Json
from integration.fhir.sending import Exclusively, FhirSender
from integration.fhir.settings import FhirDestinationSettings
from integration.fhir.smart import SmartAuth
from integration.hl7v2.client import MllpClient
from integration.hl7v2.outbound import OruDestination
from integration.hl7v2.report import Endpoints
from integration.hl7v2.settings import OruDestinationSettings
from integration.kafka.connection import client_arguments
from integration.kafka.outbound import KafkaDestination
from integration.kafka.settings import KafkaDestinationSettings
from integration.kafka.writer import Writer
from integration.security.tls import client_context

# Sends a report and returns the other side's answer, short; raises Refused or TryLater.
Destination = Callable[[Json], str]


def open_destination(
    settings: DestinationSettings,
    keys: Path,
    exclusively: Exclusively,
    history: History = nothing_before,
    *,
    limit_s: float = math.inf,
) -> Destination:
    """Return what sends a report there; it connects when it is used, and threads may share it.

    Args:
        settings: of the destination.
        keys: folder of our signing keys.
        exclusively: a lock by name among all workers.
        history: tells what a FHIR server had of a report before.
        limit_s: for all that one report takes there.
    """
    send: Destination
    match settings:
        case FhirDestinationSettings():
            client = fhir_client(settings, keys)
            send = FhirSender(client, settings, exclusively, history).send
        case OruDestinationSettings():
            send = _oru(settings)
        case KafkaDestinationSettings():
            send = _kafka(settings, limit_s)

    def send_in_time(bundle: Json) -> str:
        with all_within(limit_s):
            return send(bundle)

    return send_in_time


def history_of(store: Store, destination: str) -> History:
    """Return what tells what a destination had of a report before."""

    def look(exam_id: UUID) -> Before:
        ends = store.deliveries_of(exam_id)
        return before(ends, destination, lambda: store.versions_of(exam_id))

    return look


def fhir_client(fhir: FhirDestinationSettings, keys: Path) -> FhirClient:
    """Return a client that shows who we are as the settings say."""
    auth = (
        SmartAuth(fhir.base_url, fhir.smart, keys, timeout_s=fhir.timeout_s) if fhir.smart else None
    )
    return FhirClient(fhir.base_url, token=fhir.token, auth=auth, timeout_s=fhir.timeout_s)


def _oru(oru: OruDestinationSettings) -> Destination:
    own = oru.tls
    tls = client_context(own.ca, own.certificate, own.key) if own else None
    endpoints = Endpoints(
        oru.sending_application,
        oru.sending_facility,
        oru.receiving_application,
        oru.receiving_facility,
    )
    connected = OruDestination(
        lambda: MllpClient(oru.host, oru.port, oru.timeout_s, tls), endpoints
    )
    return connected.send


def _kafka(kafka: KafkaDestinationSettings, limit_s: float) -> Destination:
    writer = Writer(client_arguments(kafka), min(kafka.timeout_s, limit_s))
    return KafkaDestination(writer, kafka.topic, compact=kafka.format == "event").send
