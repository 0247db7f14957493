"""Chunks of continuous recordings as senders would write them."""

import base64
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson

from db.records import PatientRef
from db.streaming import Stream
from tests.ecg_events import PATIENT

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
RATE_HZ = 100
TYPE = [("content-type", b"application/vnd.hisbundle.ecg-chunk+json")]


def chunk_event(second=0, *, seconds=1, device="MONITOR-7", **changes):
    """A second of lead II as an object; `changes` of None leave a name out."""
    counts = np.arange(second * RATE_HZ, (second + seconds) * RATE_HZ) % 199 - 99
    lead = {"name": "II", "unit": "uV", "resolution": 5}
    lead["samples_int16le"] = base64.b64encode(counts.astype("<i2").tobytes()).decode()
    event = {
        "type": "ecg-chunk",
        "version": 1,
        "device": device,
        "start": (T0 + timedelta(seconds=second)).isoformat(),
        "patient": PATIENT,
        "sampling_rate_hz": RATE_HZ,
        "leads": [lead],
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def chunk_bytes(second=0, **changes):
    return orjson.dumps(chunk_event(second, **changes))


def stream_of(topic, device="MONITOR-7"):
    """The stream that these chunks are of."""
    patient = PatientRef(PATIENT["identifier"], PATIENT["authority"])
    return Stream(f"{device}^{topic}", patient, float(RATE_HZ))
