"""ECG events as senders would write them."""

import base64

import numpy as np
import orjson

from model.ecg import LEADS_12
from model.simulate import simulate

PATIENT = {"identifier": "ZZCANARY-4711", "authority": "ZZCANARYHOSP"}


def counts(seed=0, samples=2500):
    """Whole numbers that differ with the seed: a slow wave in steps of 5 uV."""
    phase = np.linspace(0, 12 * np.pi, samples) + seed
    return np.rint(100 * np.sin(phase)[None, :] * np.arange(1, 13)[:, None]).astype("<i2")


def ecg_event(seed=0, *, packed=True, **changes):
    """An event as an object; `changes` of None leave a name out."""
    rows = []
    for name, row in zip(LEADS_12, counts(seed), strict=True):
        lead = {"name": name, "unit": "uV", "resolution": 5}
        if packed:
            lead["samples_int16le"] = base64.b64encode(row.tobytes()).decode()
        else:
            lead["samples"] = row.tolist()
        rows.append(lead)
    event = {
        "type": "ecg",
        "version": 1,
        "id": f"event-{seed}",
        "patient": PATIENT,
        "start": "2026-01-02T03:04:05+01:00",
        "sampling_rate_hz": 250,
        "leads": rows,
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def ecg_bytes(seed=0, **changes):
    return orjson.dumps(ecg_event(seed, **changes))


def simulated_event(kind="normal", seed=0):
    """An event of an ECG that the models can score, as bytes."""
    ecg = simulate(kind, seed=seed)
    leads = []
    for name, row in zip(ecg.leads, np.rint(1000 * ecg.voltage_mv).astype("<i2"), strict=True):
        packed = base64.b64encode(row.tobytes()).decode()
        leads.append({"name": name, "unit": "uV", "resolution": 1, "samples_int16le": packed})
    return ecg_bytes(seed, leads=leads, sampling_rate_hz=ecg.sampling_rate_hz)
