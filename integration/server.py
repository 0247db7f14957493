"""The process behind `hisbundle serve`: listeners, and in the embedded default a worker beside."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

import db.migrate
from db.store import Store
from integration.config import HttpSettings, MllpSettings, Settings
from integration.errors import ConfigError
from integration.fhir_intake import FhirIntake
from integration.intake import Hl7Intake
from integration.listeners.fhir_in import FhirDoor
from integration.listeners.http import LOOPBACK_NAMES, create_app
from integration.listeners.mllp import serve_mllp
from integration.queue import SCORE, Bell, make_celery
from integration.senders import senders_of
from integration.supervisor import keep_worker

_HTTP_GRACE_S = 10
_log = logging.getLogger(__name__)


def run(settings: Settings, *, with_worker: bool) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConfigError: `senders-missing`, `address-unusable`, `tls-unusable`.
        HisbundleError: the database cannot be used.
    """
    senders = senders_of(settings)
    if settings.embedded:
        db.migrate.upgrade(settings.database)
    else:
        db.migrate.check(settings.database)
    store = Store.open(settings.database)
    bell = None if settings.embedded else Bell(make_celery(settings))
    ring = None if bell is None else lambda ids: bell.ring(SCORE, ids)
    intake = Hl7Intake(store, ring, senders)
    fhir_intake = FhirIntake(store, ring, zone=settings.zone)
    try:
        asyncio.run(_serve(settings, store, intake, fhir_intake, with_worker=with_worker))
    finally:
        if bell is not None:
            bell.close()
        store.close()


async def _serve(
    settings: Settings,
    store: Store,
    intake: Hl7Intake,
    fhir_intake: FhirIntake,
    *,
    with_worker: bool,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _address_told(settings.http):
        http_socket = _listen(settings.http)
    with _address_told(settings.mllp):
        mllp = await serve_mllp(settings.mllp, intake.answer, intake.refuse_connection)
    http = _http_server(settings.http, store, fhir_intake)
    tasks = [asyncio.create_task(http.serve(sockets=[http_socket]))]
    if with_worker:
        tasks.append(asyncio.create_task(keep_worker(stop, settings.worker.time_limit_s)))
    told = (settings.mllp.host, mllp.port, *http_socket.getsockname()[:2])
    _log.info("listening mllp=%s:%d http=%s:%d", *told)
    await stop.wait()
    # First nothing new comes in; then what is under way is finished.
    await mllp.stop()
    http.should_exit = True
    await asyncio.gather(*tasks)
    _log.info("stopped")


def _http_server(settings: HttpSettings, store: Store, intake: FhirIntake) -> uvicorn.Server:
    token = settings.token.get_secret_value() if settings.token else None
    door = FhirDoor(intake, max_body_bytes=settings.max_body_bytes, token=token)
    config = uvicorn.Config(
        create_app(
            store,
            allowed_hosts=LOOPBACK_NAMES if settings.loopback else None,
            door=door if settings.takes_ecgs else None,
            token=token,
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
    return socket.create_server((settings.host, settings.port), family=family, backlog=128)


@contextmanager
def _address_told(settings: HttpSettings | MllpSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise ConfigError("address-unusable", f"{address}: {error.strerror}") from None
