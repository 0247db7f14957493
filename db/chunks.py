"""Samples of continuous recordings on their way to disk and back, many in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from uuid import UUID

from sqlalchemy import Executable, bindparam, case, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.columns import Base
from db.mapping import patient_values
from db.records import PatientRef
from db.sealed import Sealed, opened, row_id
from db.stream_tables import ChunkRow, StreamRow
from db.streaming import Stream, StreamState
from db.waveform import Packed, unpack
from model.ecg import Ecg
from model.stitch import Span, core_of, whole_from, window_for

_HEARD = (
    update(StreamRow)
    .where(StreamRow.id == bindparam("of"))
    .values(
        heard_at=bindparam("heard"),
        watermark=case(
            (StreamRow.watermark < bindparam("end"), bindparam("end")), else_=StreamRow.watermark
        ),
        late=StreamRow.late + bindparam("came_late"),
        state=StreamState.LIVE,
    )
)


@dataclass(frozen=True)
class Chunk:
    """A chunk as stored; its samples are unpacked when they are asked for."""

    span: Span
    received_at: datetime
    packed: Packed = field(repr=False)

    def ecg(self) -> Ecg:
        """Return the samples.

        Raises:
            Corrupt: they do not decode.
        """
        return unpack(self.packed)


@dataclass(frozen=True)
class Arrival:
    """A chunk that is to be stored.

    Attributes:
        id: what came twice has the same.
        stream: whose it is.
        message_id: that brought it.
        received_at: aware.
        packed: the samples.
    """

    id: UUID
    stream: Stream
    message_id: UUID
    received_at: datetime
    packed: Packed = field(repr=False)

    @property
    def start(self) -> datetime:
        """Of the first sample."""
        if self.packed.start is None:
            raise ValueError("a chunk says when it begins")
        return self.packed.start

    @property
    def end(self) -> datetime:
        """After the last sample."""
        packed = self.packed
        return self.start + timedelta(seconds=packed.n_samples / packed.sampling_rate_hz)


def add_arrivals(session: Session, arrivals: Sequence[Arrival]) -> None:
    """Store chunks in the order of their arrival, open their streams and tell them; once each."""
    by_stream = {
        id_: list(own)
        for id_, own in groupby(
            sorted(arrivals, key=lambda a: a.stream.id), key=lambda a: a.stream.id
        )
    }
    known = select(StreamRow.id, StreamRow.made_to).where(StreamRow.id.in_(by_stream))
    made_to = dict(session.execute(known).all())
    dialect = session.get_bind().dialect.name
    connection = session.connection()
    for id_ in by_stream.keys() - made_to.keys():
        connection.execute(_insert_new(dialect, StreamRow), _stream_values(by_stream[id_][0]))
    connection.execute(_insert_new(dialect, ChunkRow), [_values(a) for a in arrivals])
    # Always in the same order, by id: two listeners never wait for each other.
    heard = [_heard(id_, own, made_to.get(id_)) for id_, own in by_stream.items()]
    connection.execute(_HEARD, heard)


def chunk_of(row: ChunkRow, sampling_rate_hz: float) -> Chunk:
    """Return a row's chunk."""
    leads = tuple(row.leads.split(","))
    end = row.start + timedelta(seconds=row.n_samples / sampling_rate_hz)
    resolution = None if row.resolution_mv is None else tuple(row.resolution_mv)
    packed = Packed(
        leads,
        row.n_samples,
        sampling_rate_hz,
        row.start,
        resolution,
        row.encoding,
        row.samples.open(row_id(row.stream_id, row.start, row.id)),
    )
    return Chunk(Span(row.start, end, leads), row.received_at, packed)


def stream_of(row: StreamRow) -> Stream:
    """Return a row's stream."""
    identifier = row.patient_identifier.open(row.id)
    patient = PatientRef(identifier, opened(row.patient_authority, row.id))
    return Stream(row.sender, patient, row.sampling_rate_hz)


@cache
def _insert_new(dialect: str, table: type[Base]) -> Executable:
    statement = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    return statement.on_conflict_do_nothing()


def _values(arrival: Arrival) -> dict[str, object]:
    packed, start = arrival.packed, arrival.start.astimezone(UTC)
    return {
        "stream_id": arrival.stream.id,
        "start": start,
        "id": arrival.id,
        "received_at": arrival.received_at,
        "leads": ",".join(packed.leads),
        "n_samples": packed.n_samples,
        "resolution_mv": None if packed.resolution_mv is None else list(packed.resolution_mv),
        "encoding": packed.encoding,
        "samples": Sealed(row_id(arrival.stream.id, start, arrival.id), packed.samples),
    }


def _stream_values(first: Arrival) -> dict[str, object]:
    stream = first.stream
    return {
        "id": stream.id,
        "message_id": first.message_id,
        "sender": stream.sender,
        **patient_values(stream.id, stream.patient),
        "sampling_rate_hz": stream.sampling_rate_hz,
        "state": StreamState.LIVE,
        "heard_at": first.received_at,
        "watermark": first.end,
        "due_from": whole_from(window_for(first.start, stream.phase)),
        "attempts": 0,
        "late": 0,
    }


def _heard(id_: UUID, own: Sequence[Arrival], made_to: datetime | None) -> dict[str, object]:
    closed = None if made_to is None else core_of(made_to)[1]
    return {
        "of": id_,
        "heard": max(arrival.received_at for arrival in own),
        "end": max(arrival.end for arrival in own),
        "came_late": sum(closed is not None and arrival.end <= closed for arrival in own),
    }
