"""FHIR resources made by our own code, for the tests and benchmarks of what arrives."""

import numpy as np

MDC = "urn:iso:std:iso:11073:10101"
UCUM = "http://unitsofmeasure.org"
LEAD_NUMBERS = {
    "I": 1,
    "II": 2,
    "III": 61,
    "aVR": 62,
    "aVL": 63,
    "aVF": 64,
    **{f"V{n}": n + 2 for n in range(1, 7)},
}
PATIENT = {"system": "urn:oid:1.2.3", "value": "ZZCANARY-4711"}
STEP_UV = 5


def lead_code(lead):
    return {
        "coding": [
            {
                "system": MDC,
                "code": str(131328 + LEAD_NUMBERS[lead]),
                "display": f"MDC_ECG_ELEC_POTL_{lead.upper() if lead[0] == 'V' else lead}",
            }
        ]
    }


def sampled(data, **changes):
    """SampledData of R4 in steps of 5 uV at 500 Hz; `changes` of None leave an element out."""
    made = {
        "origin": {"value": 0, "unit": "uV", "system": UCUM, "code": "uV"},
        "period": 2,
        "factor": STEP_UV,
        "dimensions": 1,
        "data": data if isinstance(data, str) else " ".join(map(str, data)),
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def component(lead, data, **changes):
    return {"code": lead_code(lead), "valueSampledData": sampled(data, **changes)}


def observation(components, **changes):
    made = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": MDC, "code": "131328", "display": "MDC_ECG_ELEC_POTL"}]},
        "subject": {"identifier": PATIENT},
        "effectiveDateTime": "2026-03-01T08:30:15+01:00",
        "component": components,
    } | changes
    return {name: value for name, value in made.items() if value is not None}


def one_lead(lead, data, **changes):
    """An Observation of one lead, as some senders make twelve of an ECG."""
    own = {"code": lead_code(lead), "valueSampledData": sampled(data), "component": None}
    return observation(None, **(own | changes))


def of_ecg(ecg, **changes):
    """An Observation of an Ecg, in steps of 5 uV."""
    steps = np.rint(ecg.voltage_mv * 1000 / STEP_UV).astype(int)
    period_ms = 1000 / ecg.sampling_rate_hz
    parts = [
        component(lead, row.tolist(), period=period_ms)
        for lead, row in zip(ecg.leads, steps, strict=True)
    ]
    return observation(parts, **changes)


def bundle(*resources, type_="transaction", **changes):
    entries = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-{n:012d}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for n, resource in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": type_, "entry": entries} | changes


def full_url(n):
    return f"urn:uuid:00000000-0000-4000-8000-{n:012d}"
