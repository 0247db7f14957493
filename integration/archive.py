"""From the files of an archive to stored messages, through the same doors as live traffic.

A file of HL7 v2 messages or of FHIR resources is taken message by message, as if each had been
sent; a recording becomes a message of its own. Ids follow from content, so what is met twice, in
this archive or live, is there once.
"""

import csv
import io
import logging
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path

import orjson

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef, Receipt
from integration.errors import ConfigError, Refused, as_refused
from integration.fhir.ndjson import batches_of, lines_of
from integration.fhir_body import Interaction, interaction_of
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from integration.formats import NOT_ECG, DecodedEcg, read_ecgs
from integration.formats.files import read_limited
from integration.hl7v2.framing import Frame
from integration.hl7v2.stream import is_hl7, messages_in
from integration.inbox import BatchInbox, tell_ecgs
from integration.intake import Hl7Intake
from integration.senders import Peer, Senders
from model.errors import EcgError

PROTOCOL = "archive"
SENDER = "archive"
MAX_FILE_BYTES = 128 * 2**20
_MAX_WAITING = 64  # messages of a transaction
_MAX_WAITING_BYTES = 16 * 2**20
_HEAD = 4096
_NOT_ECG = NOT_ECG | {"format-unknown", "archive-unsupported"}
_log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Outcome(StrEnum):
    """What became of one message or recording."""

    IMPORTED = "imported"
    KNOWN = "known"  # it was here already
    NOT_ECG = "not-ecg"
    REFUSED = "refused"


@dataclass(frozen=True)
class Told:
    """One outcome; `reason` where it is refused, `ecgs` that are new here."""

    outcome: Outcome
    reason: str | None = None
    ecgs: int = 0


class Witness:
    """Takes what an intake hands over, or only looks, and tells what became of it.

    Messages wait until there are enough for a transaction, and are stored in the order in which
    they came. For one thread.
    """

    def __init__(self, inner: BatchInbox | None) -> None:
        """Take where to keep; None: nowhere, nothing is stored."""
        self._inner = inner
        self._waiting: list[Incoming] = []
        self._waiting_bytes = 0
        self._told: list[Told] = []
        self._fault: Exception | None = None

    def accept(self, incoming: Incoming, *, rung: bool = False) -> Receipt:
        """Let a message wait for its transaction; what came of it is not known yet."""
        del rung  # the sweep finds what an archive brings
        self._waiting.append(incoming)
        self._waiting_bytes += _size(incoming)
        if len(self._waiting) >= _MAX_WAITING or self._waiting_bytes >= _MAX_WAITING_BYTES:
            self._store()
        return Receipt(incoming.message.id, incoming.answer, (), duplicate=False)

    def note(self, told: Told) -> None:
        """Note an outcome of which nothing is stored."""
        self._told.append(told)

    @property
    def untold(self) -> int:
        """How many messages came since the last call of `take`."""
        return len(self._waiting) + len(self._told)

    def take(self) -> list[Told]:
        """Store what waits; return what has become of everything since the last call.

        Raises:
            StoreUnavailable: some of it is not stored.
        """
        self._store()
        if self._fault is not None:
            raise self._fault
        told, self._told = self._told, []
        return told

    def _store(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if not waiting or self._fault is not None:
            return  # after a fault the import is over: what it has not stored comes again
        try:
            receipts = self._receipts(waiting)
        except Exception as error:  # noqa: BLE001 - raised by take: an intake would keep it
            self._fault = error
            return
        for incoming, receipt in zip(waiting, receipts, strict=True):
            tell_ecgs(receipt)
            if receipt.conflict:
                id_ = receipt.message_id
                _log.warning("message %s shares its control id with another one", id_)
            self._told.append(_told(incoming, receipt))

    def _receipts(self, waiting: Sequence[Incoming]) -> list[Receipt]:
        if self._inner is None:
            return [Receipt(one.message.id, one.answer, (), duplicate=False) for one in waiting]
        try:
            return self._inner.accept_all(waiting)
        except Exception:  # noqa: BLE001 - one that cannot be stored keeps none out before it
            return [self._inner.accept(one) for one in waiting]


class Patients:
    """Whose recordings are whose, where the files themselves do not tell."""

    def __init__(self, by_name: dict[str, PatientRef], *, named_by_file: bool = False) -> None:
        """Take the table.

        Args:
            by_name: whose each file is, by its name or the last folders and its name, either with
                or without ending; the longest counts.
            named_by_file: whether a file that the table does not name is called after its patient.
        """
        self._by_name = by_name
        self._named_by_file = named_by_file

    @classmethod
    def read(cls, table: Path | None, *, named_by_file: bool = False) -> "Patients":
        """Read a CSV file with the columns file, identifier and, if wanted, authority.

        Raises:
            ConfigError: `patients-unusable`.
        """
        if table is None:
            return cls({}, named_by_file=named_by_file)
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file, strict=True))
            found = {
                row["file"]: PatientRef(row["identifier"], row.get("authority") or None)
                for row in rows
            }
        except (OSError, UnicodeDecodeError, csv.Error, KeyError, EcgError, TypeError) as error:
            detail = f"{table}: needs the columns file and identifier ({type(error).__name__})"
            raise ConfigError("patients-unusable", detail) from None
        if not all(ref.identifier for ref in found.values()) or len(found) < len(rows):
            detail = f"{table}: a file stands there twice, or has no identifier"
            raise ConfigError("patients-unusable", detail)
        return cls(found, named_by_file=named_by_file)

    def of(self, path: Path, decoded: DecodedEcg) -> PatientRef:
        """Return whose recording this is.

        Raises:
            Refused: `patient-missing`, `patient-ambiguous`, `patient-disagrees`.
        """
        name = self._name(path)
        told = None if name is None else self._by_name[name]
        if len(decoded.patients) > 1:
            raise Refused("patient-ambiguous", "the file names several patients")
        if not decoded.patients:
            if told is None and self._named_by_file:
                told = PatientRef(path.stem)
            if told is None:
                raise Refused("patient-missing", "neither the file nor the table names a patient")
            return told
        if told is not None and told.identifier != decoded.patients[0].identifier:
            raise Refused("patient-disagrees", "the file names another patient than the table")
        return decoded.patients[0]

    def check(self, paths: Iterable[Path]) -> None:
        """Refuse a name that files in several folders have: whose they are would be a guess.

        Raises:
            ConfigError: `patients-unusable`.
        """
        folders: dict[str, Path] = {}
        for path in paths if self._by_name else ():
            name = self._name(path)
            if name and folders.setdefault(name, path.parent) != path.parent:
                detail = "files in several folders have a name of the table: put folders before it"
                raise ConfigError("patients-unusable", detail)

    def _name(self, path: Path) -> str | None:
        """Return what the table calls a file, if it does."""
        tails = ("/".join(path.parts[start:]) for start in range(len(path.parts)))
        names = (name for tail in tails for name in (tail, tail.removesuffix(path.suffix)))
        return next(filter(self._by_name.__contains__, names), None)


class Archive:
    """Takes files, one after the other."""

    def __init__(
        self,
        inbox: BatchInbox | None,
        senders: Senders,
        patients: Patients,
        *,
        zone: tzinfo | None = None,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        """Take where messages go.

        Args:
            inbox: None: nothing is stored, all is read and judged.
            senders: how each sender's HL7 v2 messages are read.
            patients: of recordings.
            zone: of times without one.
            clock: returns the aware time.
        """
        self._witness = Witness(inbox)
        self._hl7 = Hl7Intake(self._witness, None, senders, clock=clock)
        self._fhir = FhirIntake(self._witness, None, zone=zone, clock=clock)
        self._patients, self._zone, self._clock = patients, zone, clock

    def take(self, path: Path, *, must_be_ecg: bool) -> None:
        """Read a file; what it holds is kept at the latest by `told`. Never raises for its content.

        Args:
            path: of a WFDB record, its header.
            must_be_ecg: whether a file that is no recording is refused, and not passed over.
        """
        try:
            head = read_limited(path, _HEAD, whole=False)
            if is_hl7(head):
                self._take_hl7(path)
            elif path.suffix != ".hea" and head.lstrip()[:1] == b"{":
                self._take_fhir(path, head)
            else:
                self._take_recording(path, must_be_ecg=must_be_ecg)
        except (EcgError, Refused) as error:
            self._witness.note(Told(Outcome.REFUSED, error.reason))

    @property
    def untold(self) -> int:
        """How many messages were taken since the last call of `told`."""
        return self._witness.untold

    def told(self) -> list[Told]:
        """Return what has become of all that was taken since the last call: it is kept now.

        Raises:
            StoreUnavailable: some of it is not kept; its files may come again, to a new archive.
        """
        return self._witness.take()

    def _take_hl7(self, path: Path) -> None:
        with path.open("rb") as file:
            for raw in messages_in(file, MAX_FILE_BYTES):
                self._hl7.answer(Frame(raw), Peer(PROTOCOL, replayed=True))

    def _take_fhir(self, path: Path, head: bytes) -> None:
        if not _is_ndjson(path, head):
            raw = read_limited(path, MAX_FILE_BYTES)
            self._fhir.answer(raw, interaction_of(raw), Origin(SENDER))
            return
        with path.open("rb") as file:
            for batch in batches_of(lines_of(file)):
                self._fhir.answer(batch, Interaction.BUNDLE, Origin(SENDER))

    def _take_recording(self, path: Path, *, must_be_ecg: bool) -> None:
        exams: list[NewExam] = []
        refused: Refused | None = None
        try:
            exams = [self._exam(path, one) for one in read_ecgs(path, zone=self._zone)]
        except EcgError as error:
            if error.reason in _NOT_ECG and not must_be_ecg:
                return
            refused = as_refused(error)
        except Refused as error:
            refused = error
        message = NewMessage.whole(PROTOCOL, SENDER, "", _bytes_of(path), self._clock())
        state = MessageState.ACCEPTED if refused is None else MessageState.REFUSED
        reason = None if refused is None else refused.reason
        self._witness.accept(Incoming(message, state, reason, b"", exams))

    def _exam(self, path: Path, decoded: DecodedEcg) -> NewExam:
        return NewExam(self._patients.of(path, decoded), decoded.ecg, decoded.acquired)


def _size(incoming: Incoming) -> int:
    """Return about how many bytes a message holds while it waits."""
    return len(incoming.message.raw) + sum(one.ecg.voltage_mv.nbytes for one in incoming.exams)


def _told(incoming: Incoming, receipt: Receipt) -> Told:
    if incoming.state == MessageState.REFUSED:
        return Told(Outcome.REFUSED, incoming.reason)
    if receipt.duplicate:
        return Told(Outcome.KNOWN)
    if incoming.state == MessageState.NOT_ECG:
        return Told(Outcome.NOT_ECG)
    return Told(Outcome.IMPORTED, ecgs=len(incoming.exams))


def _is_ndjson(path: Path, head: bytes) -> bool:
    """Whether each line is a resource: by its name, or because the first line is a whole one."""
    if path.suffix.lower() == ".ndjson":
        return True
    first, _, rest = head.lstrip().partition(b"\n")
    try:
        return rest.lstrip()[:1] == b"{" and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _bytes_of(path: Path) -> bytes:
    """Return what is kept of a recording: its file, or of a WFDB record an archive of its files."""
    if path.suffix != ".hea":
        return read_limited(path, MAX_FILE_BYTES)
    from integration.formats import wfdb  # noqa: PLC0415 - brings pandas

    packed, files = io.BytesIO(), wfdb.files_of(path)
    short = all(len(os.fsencode(file.name)) <= tarfile.LENGTH_NAME for file in files)
    form = tarfile.USTAR_FORMAT if short else tarfile.PAX_FORMAT
    # Nothing of the file system goes in, so the same record has the same bytes everywhere.
    with tarfile.open(fileobj=packed, mode="w", format=form) as tar:
        for file in files:
            content = read_limited(file, MAX_FILE_BYTES)
            entry = tarfile.TarInfo(file.name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
