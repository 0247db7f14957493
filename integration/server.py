"""The process behind `hisbundle serve`: listeners, and in the embedded default a worker beside."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import uvicorn

import db.migrate
from db.room import Limits, Room
from db.store import Store
from integration.config import Settings
from integration.database import open_store
from integration.errors import ConfigError
from integration.fhir.settings import HttpSettings
from integration.fhir_intake import FhirIntake
from integration.hl7v2.settings import MllpSettings
from integration.inbox import BatchInbox
from integration.intake import Hl7Intake
from integration.kafka_intake import KafkaIntake
from integration.listeners.bodies import Bodies
from integration.listeners.confirm import ConfirmDoor
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.fhir_notify import NotifyDoor
from integration.listeners.fhir_poll import Poller, pollers_of
from integration.listeners.guard import LOOPBACK_NAMES
from integration.listeners.http import create_app
from integration.listeners.kafka import KafkaListener
from integration.listeners.mllp import serve_mllp
from integration.metrics import Metrics
from integration.metrics.kafka_lag import KafkaLag
from integration.queue import DELIVER, SCORE, Bell, make_celery
from integration.review import Reviews
from integration.security.callers import callers_of
from integration.senders import senders_of
from integration.supervisor import keep_worker
from integration.traces import Traces

_HTTP_GRACE_S = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Doors:
    """What ECGs come in by."""

    hl7: Hl7Intake
    fhir: FhirIntake
    reviews: Reviews
    kafka: KafkaListener | None  # without topics in the settings
    pollers: list[Poller]


def run(settings: Settings, *, with_worker: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: `senders-missing`, `address-unusable`, `tls-unusable`, `jwks-unusable`,
            `source-url-invalid`.
        HisbundleError: the database cannot be used.
    """
    senders = senders_of(settings)
    if settings.embedded:
        db.migrate.upgrade(settings.database, later=settings.allow_later_schema)
    store = open_store(settings)
    limits = Limits(**settings.storage.model_dump())
    store.limit(Room(limits, store.folder, store.database_bytes))
    bell = None if settings.embedded else Bell(make_celery(settings))
    ring = None if bell is None else lambda ids: bell.ring(SCORE, ids)
    metrics = Metrics(store)
    inbox = metrics.counted(store)
    reviews = Reviews(store, None if bell is None else lambda ids: bell.ring(DELIVER, ids))
    fhir = FhirIntake(inbox, ring, reviews=reviews, look=store.answers_to, zone=settings.zone)
    doors = _Doors(
        Hl7Intake(inbox, ring, senders, reviews=reviews),
        fhir,
        reviews,
        _kafka_listener(settings, inbox, ring, metrics),
        pollers_of(settings.sources, fhir, store, settings.keys_folder),
    )
    traces = Traces(store, settings.otlp_endpoint) if settings.otlp_endpoint else None
    if traces is not None:
        traces.start()
    try:
        asyncio.run(_serve(settings, store, doors, metrics, with_worker=with_worker))
    finally:
        if traces is not None:
            traces.stop()
            traces.join(_HTTP_GRACE_S)
        if bell is not None:
            bell.close()
        store.close()


async def _serve(
    settings: Settings,
    store: Store,
    doors: _Doors,
    metrics: Metrics,
    *,
    with_worker: bool,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _address_told(settings.http):
        http_socket = _listen(settings.http)
    with _address_told(settings.mllp):
        answer = metrics.timed("mllp", doors.hl7.answer)
        mllp = await serve_mllp(settings.mllp, answer, doors.hl7.refuse_connection)
    http = _http_server(settings, store, doors, metrics)
    tasks = [asyncio.create_task(http.serve(sockets=[http_socket]))]
    tasks += [asyncio.create_task(poller.run(stop)) for poller in doors.pollers]
    if with_worker:
        tasks.append(asyncio.create_task(keep_worker(stop, settings.worker.time_limit_s)))
    if doors.kafka is not None:
        doors.kafka.start()
    told = (settings.mllp.host, mllp.port, *http_socket.getsockname()[:2])
    _log.info("listening mllp=%s:%d http=%s:%d", *told)
    await stop.wait()
    # First nothing new comes in; then what is under way is finished.
    await mllp.stop()
    if doors.kafka is not None:
        await asyncio.to_thread(doors.kafka.stop)
    http.should_exit = True
    await asyncio.gather(*tasks)
    _log.info("stopped")


def _kafka_listener(
    settings: Settings,
    inbox: BatchInbox,
    ring: Callable[[Sequence[UUID]], None] | None,
    metrics: Metrics,
) -> KafkaListener | None:
    if not settings.kafka.topics:
        return None
    charset, zone = settings.default_charset, settings.zone
    intake = KafkaIntake(inbox, ring, settings.kafka, default_charset=charset, zone=zone)
    listener = KafkaListener.open(settings.kafka, intake)
    metrics.registry.register(KafkaLag(lambda: listener.reading, lambda: listener.lag))
    return listener


def _http_server(
    settings: Settings, store: Store, doors: _Doors, metrics: Metrics
) -> uvicorn.Server:
    http, bodies = settings.http, Bodies(settings.http.max_body_bytes)
    sources = {poller.source.name: poller.source for poller in doors.pollers}
    tokens = {name: s.notify_token for name, s in settings.sources.items() if s.notify_token}
    config = uvicorn.Config(
        create_app(
            store,
            allowed_hosts=LOOPBACK_NAMES if http.loopback else None,
            door=FhirDoor(doors.fhir, bodies, store),
            notify=NotifyDoor(sources, bodies) if sources else None,
            confirm=ConfirmDoor(doors.reviews),
            callers=callers_of(http, tokens),
            metrics=metrics,
            keys=settings.keys_folder,
        ),
        access_log=False,  # a query string names patients
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=_HTTP_GRACE_S,
    )
    return _QuietServer(config)


class _QuietServer(uvicorn.Server):
    """Leaves the signals to us: what ends this process ends all of it, in our order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _listen(settings: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family, backlog=128)
    # What it accepts inherits this; asyncio sees to it for sockets of its own alone. Without it the
    # body of an answer waits 40 ms for the receiver's word that the head is there.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


@contextmanager
def _address_told(settings: HttpSettings | MllpSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise ConfigError("address-unusable", f"{address}: {error.strerror}") from None
