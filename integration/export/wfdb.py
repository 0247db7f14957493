"""WFDB records: a text header, 16-bit samples (header(5), signal(5), WFDB Applications Guide)."""

import numpy as np

from db.records import Exam
from integration.export.steps import steps_of

_NO_VALUE = -32_768  # signal(5): the lowest value


def encode_wfdb(exam: Exam) -> dict[str, bytes]:
    """Return header and samples of a record that is called after the exam; no patient in it."""
    ecg, name = exam.ecg, str(exam.id)
    steps = steps_of(ecg)
    counts = np.where(steps.missing, _NO_VALUE, steps.counts).astype("<i2")
    lines = [f"{name} {len(ecg.leads)} {ecg.sampling_rate_hz:.10g} {ecg.n_samples}"]
    for lead, step_mv, row in zip(ecg.leads, steps.step_mv, counts, strict=True):
        checksum = int(row.sum(dtype=np.int64)) & 0xFFFF
        signed = checksum - 0x10000 if checksum > 0x7FFF else checksum
        gain = f"{1 / step_mv:.12g}(0)/mV"
        lines.append(f"{name}.dat 16 {gain} 16 0 {row[0]} {signed} 0 {lead}")
    return {".hea": ("\n".join(lines) + "\n").encode(), ".dat": counts.T.tobytes()}
