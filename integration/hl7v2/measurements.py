"""Shape C: what a cart measured and said, as NM, SN, ST, TX, FT, CE or CWE.

Codes: LOINC; MDC (ISO/IEEE 11073-10102), in full or context-free; SCP-ECG's as DICOM uses them
(5.10.2.1-1 heart rate, 5.10.3-n intervals). A heart rate alone may be any monitor's: an order is
taken for an ECG's where it is one by its OBR, or where something only an ECG tells stands in it.
"""

import re

from db.clinical import Measurement, Quantity
from integration.hl7v2.message import Message, Segment
from integration.hl7v2.signals import Order, is_withdrawn
from integration.hl7v2.units import number_text

_MDC_CONTEXT_FREE = 131_072
_CONTEXT_CODES = {
    16770: Quantity.HEART_RATE,
    16000: Quantity.RR,
    15872: Quantity.PR,
    16156: Quantity.QRS,
    16160: Quantity.QT,
    15880: Quantity.QTC_BAZETT,
    15892: Quantity.QTC_FRIDERICIA,
    16128: Quantity.P_AXIS,
    16132: Quantity.QRS_AXIS,
    16136: Quantity.T_AXIS,
}
_QUANTITIES = {
    "8867-4": Quantity.HEART_RATE,
    "8625-6": Quantity.PR,
    "8633-0": Quantity.QRS,
    "8634-8": Quantity.QT,
    "8636-3": Quantity.QTC,
    "76635-2": Quantity.QTC_BAZETT,
    "76634-5": Quantity.QTC_FRIDERICIA,
    "8626-4": Quantity.P_AXIS,
    "8632-2": Quantity.QRS_AXIS,
    "8638-9": Quantity.T_AXIS,
    "MDC_ECG_HEART_RATE": Quantity.HEART_RATE,
    "5.10.2.1-1": Quantity.HEART_RATE,
    "5.10.3-1": Quantity.RR,
    "5.10.3-2": Quantity.PR,
    "5.10.3-3": Quantity.QRS,
    "5.10.3-4": Quantity.QT,
    **{f"2:{code}": quantity for code, quantity in _CONTEXT_CODES.items()},
    **{str(_MDC_CONTEXT_FREE + code): quantity for code, quantity in _CONTEXT_CODES.items()},
}
_STATEMENTS = {"8601-7", "8884-9", "18844-1"}  # LOINC: impression, rhythm, impression (narrative)
_ECG_CODES = {"11524-6", "34534-8", "45033-8", *_STATEMENTS, "93000", "93005", "93010"}  # CPT
_ECG_NAME = re.compile(r"\b(?:ECG|EKG|ELECTROCARDIO)", re.IGNORECASE)
_ANYBODYS = {Quantity.HEART_RATE, Quantity.RR}

_UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(("/MIN", "BPM", "1/MIN", "BEATS/MIN", "{BEATS}/MIN"), ("/min", 1.0)),
    **dict.fromkeys(("264864", "MDC_DIM_BEAT_PER_MIN", "264672", "MDC_DIM_PER_MIN"), ("/min", 1.0)),
    **dict.fromkeys(("MS", "MSEC", "264338", "MDC_DIM_MILLI_SEC"), ("ms", 1.0)),
    **dict.fromkeys(("S", "SEC", "264320", "MDC_DIM_SEC"), ("ms", 1000.0)),
    **dict.fromkeys(("DEG", "DEGREES", "DEGREE", "\u00b0"), ("deg", 1.0)),
    **dict.fromkeys(("262880", "MDC_DIM_ANGLE_DEG"), ("deg", 1.0)),
}
_NUMBER = re.compile(r"([+-]?\d{1,6}(?:\.\d{1,6})?)(?:\s*([^\s\d.,]\S*))?", re.ASCII)
_TEXTS = ("ST", "TX", "FT", "CE", "CWE", "")
_MAX_TEXTS, _MAX_TEXT = 64, 2_000
_MAX_IDENTIFIER_BYTES = 1_000


def measured(message: Message, order: Order) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Return the measurements and the statements of an order; nothing where it is no ECG's."""
    numbers: list[Measurement] = []
    texts: list[str] = []
    is_ecg = is_ecg_order(message, order)
    seen: dict[bytes, set[str]] = {}  # waveforms repeat a few identifiers many times
    for obx in order.observations:
        identifier = obx.field(3)
        if identifier not in seen:
            seen[identifier] = _codes(message, obx)
        codes = seen[identifier]
        quantities = {_QUANTITIES[code] for code in codes if code in _QUANTITIES}
        if is_withdrawn(message, obx):
            continue
        if len(quantities) == 1:
            quantity = quantities.pop()
            is_ecg = is_ecg or quantity not in _ANYBODYS
            numbers += _measurement(message, obx, quantity)
        elif codes & _STATEMENTS:
            is_ecg = True
            texts += _statements(message, obx)
    return (tuple(numbers), tuple(texts[:_MAX_TEXTS])) if is_ecg else ((), ())


def is_ecg_order(message: Message, order: Order) -> bool:
    """Tell whether an order is for an ECG, by OBR-4 or OBR-24 (table 0074: electrocardiac)."""
    if order.obr is None:
        return False
    section = message.free_text(order.obr.field(24), 8)
    return section == "EC" or is_ecg_identifier(message, order.obr.field(4))


def is_ecg_identifier(message: Message, value: bytes) -> bool:
    """Tell whether an identifier (CE) is that of an ECG study, by its code or in words."""
    identifier = _short(message, value)
    codes, names = (*identifier[:1], *identifier[3:4]), (*identifier[:2], *identifier[3:5])
    return any(code in _ECG_CODES for code in codes) or any(map(_ECG_NAME.search, names))


def _short(message: Message, value: bytes) -> list[str]:
    """Return a field's components; nothing where it is far too long to be an identifier."""
    return message.components(value) if len(value) <= _MAX_IDENTIFIER_BYTES else []


def _codes(message: Message, obx: Segment) -> set[str]:
    """Return the codes and names of OBX-3; a colon before a code is a known slip of one sender."""
    components = _short(message, obx.field(3))
    return {text.strip(": ").upper() for text in (*components[:2], *components[3:5])} - {""}


def _measurement(message: Message, obx: Segment, quantity: Quantity) -> list[Measurement]:
    """Return the number, if there is one and its unit, where told, is one that is certain."""
    value = obx.field(5)
    if len(value) > _MAX_IDENTIFIER_BYTES:
        return []
    found = _NUMBER.fullmatch(number_text(message.components(value)))
    if found is None:
        return []
    told = [text for text in (*_short(message, obx.field(6))[:2], found[2] or "") if text]
    units = {_UNITS.get(text.upper()) for text in told}
    if not units:
        return [Measurement(quantity, float(found[1]), None)]
    unit = units.pop()
    if unit is None or units or unit[0] != _unit_of(quantity):
        return []
    return [Measurement(quantity, float(found[1]) * unit[1], unit[0])]


def _unit_of(quantity: Quantity) -> str:
    if quantity is Quantity.HEART_RATE:
        return "/min"
    return "deg" if quantity.value.endswith("axis") else "ms"


def _statements(message: Message, obx: Segment) -> list[str]:
    kind = obx.field(2).strip().decode("latin-1")
    if kind not in _TEXTS:
        return []
    texts = []
    for repetition in obx.field(5).split(message.delimiters.repetition, _MAX_TEXTS):
        if kind in ("CE", "CWE"):
            code, name = [*repetition.split(message.delimiters.component, 2), b""][:2]
            repetition = name or code  # noqa: PLW2901 - the part of it that is for people
        texts.append(message.free_text(repetition, _MAX_TEXT))
    return [text for text in texts if text]
