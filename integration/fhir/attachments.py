"""ECG files in attachments: valueAttachment, DocumentReference, Media, and Binary in the same body.

The content alone says what a file is. A link is never followed, but to a Binary beside it.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo

from integration.errors import Refused
from integration.fhir.bundle import Entry, Resources
from integration.fhir.element import Element, blamed_on
from integration.fhir.leads import means_ecg
from integration.fhir.observations import WITHDRAWN
from integration.fhir.whose import OBSERVED_AT, identifiers_of
from integration.formats import NOT_ECG, DecodedEcg, ecgs_from_bytes

TIMES = {
    "Observation": OBSERVED_AT,
    "Media": ("createdDateTime", "createdPeriod"),
    "DocumentReference": ("period",),
}
_REPLACED = "superseded"  # of a DocumentReference
# Content that may be anything; what is certainly an ECG and broken is always refused.
_UNREAD = {"format-unknown", "archive-unsupported", "xml-malformed", "xml-forbidden"}


@dataclass(frozen=True)
class Attached:
    """A file and the resource that has it."""

    entry: Entry
    ecg: DecodedEcg
    path: str


def attached(entry: Entry, resources: Resources, zone: tzinfo | None) -> Iterator[Attached]:
    """Yield the ECGs in a resource's attachments; documents that are none are passed over.

    So is a document that another one has replaced: servers change its status then, which makes it
    new to whoever reads them.

    Raises:
        Refused: an ECG that cannot be read, is withdrawn, or is of another patient:
            `patient-disagrees`.
    """
    if entry.resource.text("status") == _REPLACED:
        return
    for attachment in _attachments(entry):
        content = _content(attachment, entry, resources)
        if content is None:
            continue
        data, media_type, path = content
        try:
            with blamed_on(path):
                found = ecgs_from_bytes(data, hint=media_type or None, zone=zone)
        except Refused as refusal:
            if refusal.reason in NOT_ECG or (refusal.reason in _UNREAD and not _is_ecg(entry)):
                continue
            raise
        if entry.resource.text("status") in WITHDRAWN:
            detail = f"the {entry.kind} is withdrawn"
            raise entry.resource.refusal("waveform-unsupported", detail, "status")
        for ecg in found:
            _check_patient(entry, resources, ecg, path)
            yield Attached(entry, ecg, path)


def _attachments(entry: Entry) -> list[Element]:
    resource = entry.resource
    if entry.kind == "DocumentReference":
        contents = resource.items("content")
        return [found for content in contents if (found := content.child("attachment"))]
    name = {"Observation": "valueAttachment", "Media": "content"}.get(entry.kind)
    single = resource.child(name) if name else None
    return [single] if single else []


def _content(
    attachment: Element, entry: Entry, resources: Resources
) -> tuple[bytes, str, str] | None:
    """Return bytes, media type and place; None where they are elsewhere."""
    holder = attachment
    if "data" not in attachment:
        binary = resources.find(attachment.text("url"), entry.resource)
        if binary is None or binary.kind != "Binary":
            return None
        holder = binary.resource
    try:
        data = base64.b64decode("".join(holder.text("data").split()), validate=True)
    except (binascii.Error, ValueError):
        raise holder.refusal("document-malformed", "no base64", "data") from None
    _check_hash(attachment, data)
    return data, holder.text("contentType") or attachment.text("contentType"), holder.at("data")


def _check_hash(attachment: Element, data: bytes) -> None:
    """Refuse content that is not what its hash (SHA-1, base64) was made of."""
    told = attachment.text("hash")
    digest = hashlib.sha1(data, usedforsecurity=False).digest()
    if told and not hmac.compare_digest(base64.b64encode(digest), told.encode(errors="replace")):
        raise attachment.refusal("checksum-mismatch", "the hash is of other content", "hash")


def _is_ecg(entry: Entry) -> bool:
    resource = entry.resource
    names = {"DocumentReference": ("type",), "Media": ("modality", "type")}.get(
        entry.kind, ("code",)
    )
    return means_ecg(*(resource.child(name) for name in names))


def _check_patient(entry: Entry, resources: Resources, ecg: DecodedEcg, path: str) -> None:
    known = identifiers_of(entry.resource, resources)
    if any(patient.identifier not in known for patient in ecg.patients):
        detail = "the file names another patient than the resource"
        raise Refused("patient-disagrees", detail, expression=path)
