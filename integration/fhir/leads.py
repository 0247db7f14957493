"""Which lead a CodeableConcept means, and whether one means an ECG.

Every coding, and the text, has to agree with every other that is understood. Numbers count only in
the systems whose tables are known: ISO/IEEE 11073 (MDC) and SCP-ECG; a number of another system
that happens to be one of theirs means nothing.
"""

import re

from integration.fhir.codes import LOINC, MDC
from integration.fhir.element import Element, blamed_on
from integration.hl7v2.leads import lead_of

_MDC_SYSTEMS = {MDC, "urn:oid:2.16.840.1.113883.6.24", "urn:iso:std:iso:11073:10102"}
_SCP_SYSTEMS = {"urn:oid:1.2.840.10008.2.16.4", "http://dicom.nema.org/resources/ontology/SCPECG"}
_ANY_LEAD = {"131328", "131072", "MDC_ECG_ELEC_POTL", "MDC_ECG_LEAD", "44967-8"}
_ECG_CODES = {"11524-6", "34534-8", "45033-8", "93000", "93005", "93010"}  # LOINC, CPT
_ECG_NAME = re.compile(r"\b(?:ECG|EKG|electrocardio)|MDC_ECG_(?:ELEC_POTL|LEAD)", re.IGNORECASE)
_NOWHERE = ("", 1, 0)


def lead_in(*concepts: Element | None) -> str | None:
    """Return the lead that these concepts mean.

    Returns:
        A canonical name; `OTHER` for what is certainly none of the twelve; None where no lead is
        recognised.

    Raises:
        Refused: `lead-mismatch`, `lead-unknown`, `field-malformed`; with the place.
    """
    meanings: set[str] = set()
    for concept in concepts:
        if concept is None:
            continue
        for identifier, path in _identifiers(concept):
            with blamed_on(path):
                meanings |= {lead_of(identifier, _NOWHERE) or ""}
        meanings -= {""}
        if len(meanings) > 1:
            raise concept.refusal("lead-mismatch", "the codes name different leads")
    return next(iter(meanings), None)


def means_ecg(*concepts: Element | None) -> bool:
    """Tell whether one of these is the code of an ECG, or says so in words."""
    texts = {text for concept in concepts if concept for text in _texts(concept)}
    return bool(texts & (_ECG_CODES | _ANY_LEAD)) or any(map(_ECG_NAME.search, texts))


def _identifiers(concept: Element) -> list[tuple[list[str], str]]:
    found = []
    for coding in concept.items("coding"):
        code, name, system = (coding.text(part) for part in ("code", "display", "system"))
        if code in _ANY_LEAD:
            continue
        if system in _MDC_SYSTEMS:
            system = "MDC"
        elif system in _SCP_SYSTEMS:
            system = "SCPECG"
        elif system == LOINC or re.fullmatch(r"[\d:.-]+", code):
            code = "" if system else code
        found.append(([code, name, system], coding.path))
    if text := concept.text("text"):
        found.append((["", text, ""], concept.at("text")))
    return found


def _texts(concept: Element) -> list[str]:
    codings = concept.items("coding")
    return [*(c.text(part) for c in codings for part in ("code", "display")), concept.text("text")]
