"""`hisbundle import`: the ECGs of an archive, behind whatever arrives live."""

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click

from db.imports import Import
from db.records import BACKLOG, Lane
from db.store import Store
from integration.archive import Archive, Outcome, Patients, Told
from integration.cli.access import actor_option, needs
from integration.cli.database import opened
from integration.cli.progress import progress
from integration.cli.recordings import recordings
from integration.cli.tables import listing, screen
from integration.config import Settings
from integration.security.roles import Role
from integration.senders import senders_of

_ENDINGS = frozenset({".hl7", ".ndjson", ".json"})
_PIECE = 64  # files, or messages of files of many, between two notes of how far it is
_LOOK_EVERY_S = 0.5


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--list",
    "list_",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="a file that names more of them, one a line",
)
@click.option("--dry-run", is_flag=True, help="read and judge everything, store nothing")
@click.option("--no-deliver", is_flag=True, help="score silently: no report leaves")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="at most so many files a second"
)
@click.option(
    "--patients",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV with the columns file, identifier, authority: whose recordings are whose, where the "
    "files do not tell, as WFDB never does; file may have folders before it, such as p1/ecg.hea",
)
@click.option(
    "--patient-from-name",
    is_flag=True,
    help="a recording that names nobody is of the patient it is called after",
)
@click.option("--wait", is_flag=True, help="until workers have scored what an archive brought")
@click.option("--past", is_flag=True, help="list earlier imports instead")
@actor_option
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.OPERATOR)
def import_(
    *,
    paths: tuple[Path, ...],
    list_: Path | None,
    dry_run: bool,
    no_deliver: bool,
    rate: float | None,
    patients: Path | None,
    patient_from_name: bool,
    wait: bool,
    past: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Import an archive: files and folders of DICOM, annotated ECG, MUSE, SCP-ECG, Sierra, WFDB,
    HL7 v2 messages, FHIR JSON and NDJSON.

    What is taken waits for the workers behind everything that arrives live. The same PATHs again
    go on where they were stopped or killed; nothing is imported twice, however it comes. Ends with
    1 when something was refused; `hisbundle dead-letters` shows it.
    """  # noqa: D205 - click wraps the first paragraph
    with opened() as (settings, store):
        if past:
            _tell_past(store, as_json=as_json)
            return
        named = [*paths, *(Path(line) for line in _lines(list_))]
        if not named:
            raise click.UsageError("name files or folders, or give --list")
        whose = Patients.read(patients, named_by_file=patient_from_name)
        whose.check(path for path, must_be_ecg in recordings(named, _ENDINGS) if must_be_ecg)
        store.receive_as(Lane(BACKLOG, silent=no_deliver))
        archive = _archive(settings, None if dry_run else store, whose)
        begun = _begun(named, actor)
        if not dry_run:
            begun = store.begin_import(begun)
        run = _Run(archive, None if dry_run else store, begun, rate)
        run.over(named)
        if wait and not dry_run:
            _wait(store)
        _tell(run.import_id, run.counts, run.seconds, as_json=as_json, dry_run=dry_run)
    if any(name.startswith(Outcome.REFUSED) for name in run.counts):
        sys.exit(1)


class _Run:
    """Goes over the files, from where it was stopped."""

    def __init__(
        self, archive: Archive, store: Store | None, begun: Import, rate: float | None
    ) -> None:
        self.archive, self.store, self.rate = archive, store, rate
        self.import_id = begun.id
        self.position = begun.position
        self.counts = Counter(begun.counts)
        self.seconds = 0.0

    def over(self, named: list[Path]) -> None:
        """Take every file and note after each piece how far it is."""
        total = sum(1 for _ in recordings(named, _ENDINGS))
        left = self._left(named)
        began = time.monotonic()
        with progress("import", max(total, 1)) as advance:
            for _ in range(total - sum(1 for _ in self._left(named))):
                advance()
            begun = time.monotonic()
            while piece := self._take_some(left, advance):
                self._count(self.archive.told())
                self.position = _named(piece[-1])
                self._note(ended=None)
                if self.rate:
                    time.sleep(max(0.0, begun + len(piece) / self.rate - time.monotonic()))
                begun = time.monotonic()
        self.seconds = time.monotonic() - began
        self._note(ended=datetime.now(UTC))

    def _take_some(
        self, left: Iterator[tuple[Path, bool]], advance: Callable[[], None]
    ) -> list[Path]:
        """Take files until there is enough to note; return them."""
        taken: list[Path] = []
        for path, must_be_ecg in left:
            self.archive.take(path, must_be_ecg=must_be_ecg)
            advance()
            taken.append(path)
            if len(taken) >= _PIECE or self.archive.untold >= _PIECE:
                break
        return taken

    def _left(self, named: list[Path]) -> Iterator[tuple[Path, bool]]:
        """Return the files after the last one that is done, or all where that is not there."""
        if self.position is not None:
            left = recordings(named, _ENDINGS)
            if any(_named(path) == self.position for path, _ in left):
                return left
        return recordings(named, _ENDINGS)

    def _count(self, told: list[Told]) -> None:
        for one in told:
            name = f"{one.outcome}:{one.reason}" if one.reason else str(one.outcome)
            self.counts[name] += 1
            self.counts["ecgs"] += one.ecgs

    def _note(self, *, ended: datetime | None) -> None:
        if self.store is not None:
            self.store.note_import(self.import_id, self.position, dict(self.counts), ended=ended)


def _archive(settings: Settings, store: Store | None, patients: Patients) -> Archive:
    return Archive(store, senders_of(settings), patients, zone=settings.zone)


def _begun(named: Iterable[Path], actor: str) -> Import:
    paths = tuple(_named(path.absolute()) for path in named)
    digest = hashlib.sha256("\0".join(paths).encode()).hexdigest()
    return Import(uuid4(), datetime.now(UTC), actor, digest, paths)


def _named(path: Path) -> str:
    """Return a path as text that a database takes; old archives have names that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _lines(list_: Path | None) -> list[str]:
    if list_ is None:
        return []
    return [line for line in list_.read_text().splitlines() if line.strip()]


def _wait(store: Store) -> None:
    waiting = store.backlog_waiting()
    with progress("scored", max(waiting, 1)) as advance:
        while waiting:
            time.sleep(_LOOK_EVERY_S)
            now = store.backlog_waiting()
            for _ in range(waiting - now):
                advance()
            waiting = now


def _tell(
    import_id: object, counts: dict[str, int], seconds: float, *, as_json: bool, dry_run: bool
) -> None:
    if as_json:
        told = {"import": None if dry_run else str(import_id), "seconds": round(seconds, 3)}
        click.echo(json.dumps(told | {"counts": dict(sorted(counts.items()))}))
        return
    table = listing("outcome", "reason", "count")
    for name, count in sorted(counts.items()):
        outcome, _, reason = name.partition(":")
        table.add_row(outcome, reason, str(count))
    screen().print(table)


def _tell_past(store: Store, *, as_json: bool) -> None:
    found = store.imports(20)
    if as_json:
        lines = [
            {
                "id": str(one.id),
                "at": one.created_at.isoformat(),
                "by": one.actor,
                "paths": one.paths,
                "counts": one.counts,
                "finished_at": one.finished_at and one.finished_at.isoformat(),
            }
            for one in found
        ]
        click.echo(json.dumps(lines))
        return
    table = listing("at", "by", "paths", "finished", "counts")
    for one in found:
        counts = ", ".join(f"{name} {n}" for name, n in sorted(one.counts.items()))
        done = f"{one.finished_at:%Y-%m-%d %H:%M}" if one.finished_at else "not yet"
        at = f"{one.created_at:%Y-%m-%d %H:%M}"
        table.add_row(at, one.actor, " ".join(one.paths), done, counts)
    screen().print(table)
