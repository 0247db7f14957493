"""An ECG as ORU^R01 of IHE's profile WCM, as a monitor or a cart would send it.

The senders of this project (demo, `hisbundle send`, tests) use it; `decode` reads it back to the
same numbers.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from db.records import Bed, NewExam
from integration.errors import Refused
from integration.hl7v2.times import format_time

_ELEC_POTL = {
    "I": 131329,
    "II": 131330,
    "III": 131389,
    "aVR": 131390,
    "aVL": 131391,
    "aVF": 131392,
    **{f"V{n}": 131330 + n for n in range(1, 7)},
}
_PROFILE = "IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO"
_MILLIVOLT = "266418^MDC_DIM_MILLI_VOLT^MDC"
_COUNTS = "262656^MDC_DIM_DIMLESS^MDC"
_NO_COUNT, _MAX_COUNT = "32767", 32766
_NO_MILLIVOLT = "-999.0"  # with its point: a whole number could be a count
_ESCAPES = str.maketrans(
    {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\", "\r": " ", "\n": " "}
)


def encode_ecg(
    exam: NewExam,
    *,
    control_id: str,
    sender_application: str,
    sender_facility: str,
    now: datetime,
    version: str = "2.6",
) -> bytes:
    """Return an ECG as ORU^R01 in UTF-8.

    A lead with a resolution goes as counts, one without as millivolts; NaN goes as a sentinel
    outside the range that is then declared.

    Args:
        exam: the ECG and whose it is, or where it was recorded.
        control_id: MSH-10.
        sender_application: MSH-3.
        sender_facility: MSH-4.
        now: aware, for MSH-7.
        version: MSH-12.

    Raises:
        Refused: `samples-out-of-range` where a lead has NaN and counts beyond 16 bits.
    """
    sender = f"{_text(sender_application)}|{_text(sender_facility)}"
    ref = exam.patient
    patient = f"{_text(ref.identifier)}^^^{_text(ref.authority)}^MR" if ref else ""
    rest = f"{version}||||||UNICODE UTF-8|||{_PROFILE}"
    segments = [
        rf"MSH|^~\&|{sender}|||{format_time(now)}||ORU^R01^ORU_R01|{_text(control_id)}|P|{rest}",
        f"PID|1||{patient}||^^^^^^U",  # U: the name is left out on purpose
        *([f"PV1|1|I|{_location(exam.bed)}"] if exam.bed else []),
        _obr(exam),
        *_observations(exam),
    ]
    return "".join(segment + "\r" for segment in segments).encode()


def _location(bed: Bed) -> str:
    """Return PL: point of care, room and bed, and the facility."""
    parts = [*map(_text, bed.name.split("^")), "", ""][:3]
    return "^".join([*parts, _text(bed.facility)])


def _obr(exam: NewExam) -> str:
    ends = _period(exam)
    orders = f"{_text(exam.placer_order)}|{_text(exam.filler_order)}"
    return f"OBR|1|{orders}|69121^MDC_OBS_WAVE_CTS^MDC|||{'|'.join(ends)}"


def _period(exam: NewExam) -> tuple[str, ...]:
    if exam.ecg.start is not None:
        end = exam.ecg.start + timedelta(seconds=exam.ecg.duration_s)
        return format_time(exam.ecg.start), format_time(end)
    if isinstance(exam.acquired, datetime):
        return (format_time(exam.acquired),)
    return (f"{exam.acquired:%Y%m%d}",) if exam.acquired else ()


def _observations(exam: NewExam) -> Iterator[str]:
    number = 0
    for index, lead in enumerate(exam.ecg.leads, start=1):
        code, path = _ELEC_POTL[lead], f"1.1.1.{index}"
        step = exam.ecg.resolution_mv[index - 1] if exam.ecg.resolution_mv else None
        row = exam.ecg.voltage_mv[index - 1]
        name = f"{code}^MDC_ECG_ELEC_POTL_{lead.upper()}^MDC"
        yield f"OBX|{number + 1}|NA|{name}|{path}|{_array(row, step)}|{_MILLIVOLT}|||||F"
        attributes = list(_attributes(row, step, exam.ecg.sampling_rate_hz))
        for facet, (kind, attribute, value, unit) in enumerate(attributes, start=1):
            number_here = number + 1 + facet
            yield f"OBX|{number_here}|{kind}|{attribute}^MDC|{path}.{facet}|{value}|{unit}|||||F"
        number += 1 + len(attributes)


def _attributes(
    row: NDArray[np.float32], step: float | None, rate_hz: float
) -> Iterator[tuple[str, str, str, str]]:
    yield "NM", "0^MDC_ATTR_SAMP_RATE", _number(rate_hz), "264640^MDC_DIM_HZ^MDC"
    if step is not None:
        yield "NM", "2327^MDC_ATTR_NU_MSMT_RES", _number(step), _MILLIVOLT
    if np.isnan(row).any():
        counts = f"-{_MAX_COUNT}^{_MAX_COUNT}", _COUNTS
        yield "NR", "0^MDC_ATTR_DATA_RANGE", *(counts if step else ("-20^20", _MILLIVOLT))


def _array(row: NDArray[np.float32], step: float | None) -> str:
    missing = np.isnan(row)
    if step is None:
        texts = [str(value) for value in row]
    else:
        counts = np.rint(np.where(missing, 0, row.astype(np.float64) / step)).astype(np.int64)
        if missing.any() and np.abs(counts).max() > _MAX_COUNT:
            raise Refused("samples-out-of-range", "no count is left to say that a value lacks")
        texts = list(map(str, counts.tolist()))
    for index in np.flatnonzero(missing):
        texts[index] = _NO_COUNT if step else _NO_MILLIVOLT
    return "^".join(texts)


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _text(text: str | None) -> str:
    return (text or "").translate(_ESCAPES)
