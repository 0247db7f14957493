"""What has to be right before a hospital relies on an installation, looked at one by one."""

import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path

import httpx
from cryptography import x509
from kombu.exceptions import OperationalError

from db.store import Store
from integration.config import DestinationSettings, Settings, config_file
from integration.database import open_store
from integration.fhir.settings import FhirDestinationSettings, FhirServerSettings
from integration.fhir.smart import SmartAuth
from integration.hl7v2.settings import OruDestinationSettings
from integration.kafka.health import Use, topics_of, uses_of
from integration.kafka.settings import ClusterSettings, KafkaDestinationSettings
from integration.queue import make_celery, queue_depth
from integration.security.keys import keyring_of
from integration.security.tls import client_context
from model.errors import HisbundleError

EXPIRES_SOON = timedelta(days=30)
MAX_CLOCK_S = 30.0
_TIMEOUT_S = 10.0


class Level(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"  # it works, and will not for long, or not as it should
    FAULT = "fault"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and plain words on it."""

    name: str
    level: Level
    words: str


def checks(settings: Settings) -> Iterator[Check]:
    """Look at everything that the settings name; each is told as soon as it is known."""
    yield _settings(settings)
    yield _of("database", lambda: _database(settings))
    yield _of("encryption", lambda: _encryption(settings))
    yield _of("room", lambda: _room(settings))
    if settings.broker_url is not None:
        yield _of("broker", lambda: _broker(settings))
    yield _of("models", lambda: _models(settings))
    for name, path in _certificates(settings):
        yield _of(f"certificate {name}", lambda path=path: _certificate(path))  # type: ignore[misc]
    yield _of("port of the HL7 listener", lambda: _port(settings.mllp.host, settings.mllp.port))
    yield _of("port of the FHIR interface", lambda: _port(settings.http.host, settings.http.port))
    for name, source in settings.sources.items():
        yield _of(f"source {name}", lambda at=source: _fhir(at, settings.keys_folder))  # type: ignore[misc]
    if settings.kafka.topics:
        yield _of("kafka", lambda: _topics(settings.kafka, uses_of(settings.kafka)))
    for name, destination in settings.destinations.items():
        yield _of(f"destination {name}", lambda to=destination: _destination(to, settings))  # type: ignore[misc]
    if not settings.destinations:
        words = "none is set: reports are kept and served here, and sent nowhere"
        yield Check("destinations", Level.WARNING, words)


def _of(name: str, look: Callable[[], tuple[Level, str]]) -> Check:
    try:
        return Check(name, *look())
    except HisbundleError as error:
        return Check(name, Level.FAULT, str(error))


def _settings(settings: Settings) -> Check:
    file = config_file()
    where = (
        str(file)
        if file is not None and file.is_file()
        else "the environment and the defaults alone"
    )
    if settings.allow_unknown_senders or settings.allow_remote_plaintext:
        loose = [
            name
            for name in ("allow_unknown_senders", "allow_remote_plaintext")
            if getattr(settings, name)
        ]
        return Check("settings", Level.WARNING, f"from {where}; {', '.join(loose)} is on")
    return Check("settings", Level.OK, f"from {where}")


def _database(settings: Settings) -> tuple[Level, str]:
    store = open_store(settings)
    try:
        ahead_s = (store.clock() - datetime.now(UTC)).total_seconds()
    finally:
        store.close()
    if abs(ahead_s) > MAX_CLOCK_S:
        return Level.FAULT, f"its clock and this machine's are {abs(ahead_s):.0f} s apart"
    return Level.OK, "reachable, of this version's schema, its clock agrees"


def _encryption(settings: Settings) -> tuple[Level, str]:
    keyring = keyring_of(settings.encryption)
    if keyring is None:
        words = "off: messages and identifiers are plain in the database (encryption.key_file)"
        return Level.OK if settings.embedded else Level.WARNING, words
    store = open_store(settings)
    try:
        complete = store.is_resealed()
    finally:
        store.close()
    words = f"on: key {keyring.keys[0].id} seals, {keyring.index_keys[0].id} indexes"
    if not complete:
        return (
            Level.WARNING,
            f"{words}; what is older is not under them: `hisbundle encryption rotate`",
        )
    return Level.OK, words


def _room(settings: Settings) -> tuple[Level, str]:
    limits = settings.storage
    store = Store.open(settings.database)
    try:
        size, folder = store.database_bytes(), store.folder
    finally:
        store.close()
    words = f"the database has {size / 2**20:.0f} MiB"
    most = limits.max_database_bytes
    if most is not None and size > 0.9 * most:
        return Level.FAULT if size > most else Level.WARNING, f"{words} of {most / 2**20:.0f}"
    if folder is None:
        return Level.OK, words
    free = shutil.disk_usage(folder).free
    words += f", {free / 2**30:.1f} GiB of its disk are free"
    if free < limits.refuse_free_bytes:
        return Level.FAULT, f"{words}: new messages are refused"
    return (Level.WARNING if free < limits.warn_free_bytes else Level.OK), words


def _broker(settings: Settings) -> tuple[Level, str]:
    try:
        waiting = queue_depth(make_celery(settings))
    except (OperationalError, OSError) as error:
        return Level.FAULT, f"cannot be reached ({type(error).__name__})"
    return Level.OK, f"reachable, {waiting} tasks wait"


def _models(settings: Settings) -> tuple[Level, str]:
    from model.detector import Detector  # noqa: PLC0415 - slow to import, and only here
    from model.strip.detector import StripDetector  # noqa: PLC0415

    began = time.monotonic()
    resting = Detector.load(settings.model_path, operating_point=settings.operating_point)
    strip = StripDetector.load(settings.strip_model_path)
    told = ", ".join(f"{m.name} {m.version}" for m in (resting.identity, strip.identity))
    return Level.OK, f"{told}: hashes agree, loaded in {time.monotonic() - began:.1f} s"


def _certificates(settings: Settings) -> Iterator[tuple[str, Path]]:
    if settings.mllp.tls is not None:
        yield "mllp.tls", settings.mllp.tls.certificate
    clients = {"kafka.tls": settings.kafka.tls}
    for name, destination in settings.destinations.items():
        if isinstance(destination, OruDestinationSettings | KafkaDestinationSettings):
            clients[f"destinations.{name}.tls"] = destination.tls
    for name, tls in clients.items():
        if tls is not None and tls.certificate is not None:
            yield name, tls.certificate


def _certificate(path: Path) -> tuple[Level, str]:
    try:
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        return Level.FAULT, f"{path} cannot be read ({type(error).__name__})"
    left = ends - datetime.now(UTC)
    words = f"{path} is valid until {ends:%Y-%m-%d}"
    if left < timedelta(0):
        return Level.FAULT, f"{path} ran out on {ends:%Y-%m-%d}"
    return (Level.WARNING if left < EXPIRES_SOON else Level.OK), words


def _port(host: str, port: int) -> tuple[Level, str]:
    try:
        socket.create_connection((host, port), _TIMEOUT_S).close()
    except OSError:
        return Level.WARNING, f"nothing listens on {host}:{port} now"
    return Level.OK, f"something listens on {host}:{port}"


def _destination(destination: DestinationSettings, settings: Settings) -> tuple[Level, str]:
    match destination:
        case FhirDestinationSettings():
            return _fhir(destination, settings.keys_folder)
        case OruDestinationSettings():
            return _oru(destination)
        case KafkaDestinationSettings():
            return _topics(destination, {destination.topic: Use.WRITE})


def _topics(cluster: ClusterSettings, uses: Mapping[str, Use]) -> tuple[Level, str]:
    topics = topics_of(cluster, uses)
    told = [f"{topic.name}: {topic.problem}" for topic in topics if topic.problem]
    if told:
        return Level.FAULT, "; ".join(told)
    return Level.OK, f"reachable, {len(topics)} topics are there, and we may use them"


def _fhir(server: FhirServerSettings, keys: Path) -> tuple[Level, str]:
    if server.smart is not None:
        auth = SmartAuth(server.base_url, server.smart, keys, timeout_s=_TIMEOUT_S)
        try:
            auth.token()
        finally:
            auth.close()
    try:
        answer = httpx.get(
            f"{server.base_url.rstrip('/')}/metadata",
            headers={"Accept": "application/fhir+json"},
            timeout=_TIMEOUT_S,
        )
    except httpx.HTTPError as error:
        return Level.FAULT, f"cannot be reached ({type(error).__name__})"
    if not answer.is_success:
        return Level.WARNING, f"answers, but {answer.status_code} to /metadata"
    apart_s = _apart_s(answer.headers.get("Date"))
    if apart_s is not None and apart_s > MAX_CLOCK_S:
        return Level.WARNING, f"answers; its clock and ours are {apart_s:.0f} s apart"
    if isinstance(server, FhirDestinationSettings) and not _takes(server.sent_as, answer):
        return Level.WARNING, f"answers, but tells of nothing that style {server.sent_as} needs"
    return Level.OK, "answers with its capabilities"


def _takes(style: str, answer: httpx.Response) -> bool:
    """Tell whether a CapabilityStatement says what a style needs; what cannot be read says no."""
    try:
        (rest, *_) = answer.json()["rest"]
        if style == "transaction":
            return any(told["code"] == "transaction" for told in rest["interaction"])
        kind = "DocumentReference" if style == "document" else "DiagnosticReport"
        (resource,) = [known for known in rest["resource"] if known["type"] == kind]
        return any(told["code"] == "create" for told in resource["interaction"])
    except (ValueError, KeyError, TypeError):
        return False


def _apart_s(date: str | None) -> float | None:
    try:
        told = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return abs((told.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _oru(oru: OruDestinationSettings) -> tuple[Level, str]:
    tls = oru.tls
    try:
        with socket.create_connection((oru.host, oru.port), _TIMEOUT_S) as plain:
            if tls is not None:
                context = client_context(tls.ca, tls.certificate, tls.key)
                context.wrap_socket(plain, server_hostname=oru.host).close()
    except ssl.SSLError as error:
        return Level.FAULT, f"TLS fails: {error.reason}"
    except OSError as error:
        return Level.FAULT, f"cannot be reached ({type(error).__name__})"
    return Level.OK, f"{oru.host}:{oru.port} takes connections{' by TLS' if tls else ''}"
