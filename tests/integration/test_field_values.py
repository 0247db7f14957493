"""Whatever stands in a field or an element: the strictest database takes it, or it is refused.

Never "send it again later": these bytes would come again for ever, and keep others waiting. (What
is of another character set may be read once the settings name it.)
"""

import json
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime

import pytest

from db.migrate import upgrade
from db.store import Store
from integration.fhir_body import Interaction
from integration.fhir_decisions import Origin
from integration.fhir_intake import FhirIntake
from integration.hl7v2.framing import Frame
from integration.intake import Hl7Intake
from integration.senders import Peer, Sender, Senders
from tests.fhir_observations import bundle, component, full_url, observation
from tests.hl7_messages import MSH, OBR, PID, obx, wcm_lead

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEER = Peer("127.0.0.1")
ANYBODY = Senders((), Sender("", "utf-8", None), closed=False)
TEXTS = (
    "",
    '""',
    "a\0b",
    "\\X00\\",  # the same, escaped
    "\\XEDA080\\",  # half a surrogate pair
    "\u00e9\U0001f600",
    "\u0663",  # a digit, to str.isdigit
    "x" * 251,
    "9" * 40,
    "1e999",
    "NaN",
    "19000101000000+1400",
    "29991231235959-1400",
    "~&^",
    "%s:x{}'",
)
VALUES = (None, True, [], {}, 1e308, -(2**63), 10**30, "1900-01-01T00:00:00+14:00", *TEXTS)
_HEADER = f"{MSH}||||||UNICODE UTF-8"
_BED = "PV1|1|I|HDU^507^3^HOSP"
_ECG = [PID, _BED, OBR, *obx(*wcm_lead("I"))]
_STUDY = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "93000^EKG^C4")
_MEASURED = obx(
    "NM|8867-4^Heart rate^LN||72|/min^^UCUM|||||F|||20260102030400+0100",
    "TX|8601-7^impression^LN||Sinus rhythm||||||F",
    "ED|11524-6^EKG study^LN||^application^pdf^Base64^JVBERi0=||||||F",
)
MESSAGES = {
    "ORU^R01^ORU_R01": _ECG,
    "ORU^R01": [PID, _STUDY, *_MEASURED],
    "ADT^A02": ["EVN|A02|20260102030000+0100", PID, _BED],
    "ORM^O01": [PID, "ORC|NW|P1^X|F1^Y", _STUDY],
}


@pytest.fixture
def store(fresh_postgres_url):
    upgrade(fresh_postgres_url)
    with closing(Store.open(fresh_postgres_url)) as store:
        yield store


def with_one_field_changed(segments):
    """Yield the place and the message, for each field, each component and each text."""
    for i, segment in enumerate(segments):
        fields = segment.split("|")
        for j in range(2 if fields[0] == "MSH" else 1, len(fields)):
            parts = fields[j].split("^")
            for k in range(-1, len(parts) if 1 < len(parts) < 10 else 0):
                for text in TEXTS:
                    own = text if k < 0 else "^".join([*parts[:k], text, *parts[k + 1 :]])
                    changed = "|".join([*fields[:j], own, *fields[j + 1 :]])
                    message = "\r".join([*segments[:i], changed, *segments[i + 1 :], ""])
                    yield (fields[0], j, k, text[:9]), message.encode()


@pytest.mark.parametrize("kind", MESSAGES)
def test_of_an_hl7_message(store, kind):
    intake = Hl7Intake(store, None, ANYBODY, clock=lambda: NOW)
    segments = [_HEADER.replace("ORU^R01^ORU_R01", kind), *MESSAGES[kind]]
    codes, again = Counter(), []
    for number, (place, raw) in enumerate(with_one_field_changed(segments)):
        numbered = raw.replace(b"|C1|", b"|C%d|" % number, 1)
        answer = intake.answer(Frame(numbered), PEER)
        code = answer.partition(b"MSA|")[2][:2]  # MSA-2 may be what no reader decodes
        codes[code] += 1
        if code in (b"AE", b"CE") and b"charset-undecodable" not in answer:
            again.append((place, answer))
    assert again == []
    assert codes[b"AA"] > 100
    assert codes[b"AR"] > 20


def with_one_element_changed(value, path=()):
    """Yield the place and the body, for each element and each value."""
    if path:
        yield from ((path, other) for other in VALUES)
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            for place, other in with_one_element_changed(inner, (*path, key)):
                changed = value.copy()
                changed[key] = other
                yield place, changed


def test_of_a_fhir_bundle(store):
    intake = FhirIntake(store, None, clock=lambda: NOW)
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "P1"}]}
    ecg = observation(
        [component("I", [0, 1, -2])],
        id="o1",
        meta={"versionId": "3"},
        identifier=[{"system": "urn:y", "value": "7"}],
        subject={"reference": full_url(0)},
    )
    body = bundle(patient, ecg, identifier={"system": "urn:z", "value": "T1"})
    statuses, again = Counter(), []
    for place, changed in with_one_element_changed(body):
        raw = json.dumps(changed).encode()
        reply = intake.answer(raw, Interaction.BUNDLE, Origin(""))
        statuses[reply.status] += 1
        if reply.status >= 500:
            again.append((place, reply.body))
    assert again == []
    assert statuses[200] > 100
    assert statuses[400] + statuses[422] > 100
