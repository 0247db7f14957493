"""The sample messages beside the project, against a table whose rows were reviewed one by one.

A row tells what has to become of a message and why: its kind or the reason of its refusal with the
place, and of each ECG the leads, the rate, and the first three samples in millivolts.
"""

import csv
import os
from pathlib import Path

import pytest

from integration.errors import ANSWERS, Refused
from integration.hl7v2.batch import is_batch, split_batch
from integration.hl7v2.decode import Kind, decode

ROOT = Path(__file__).parents[3]
MESSAGES = Path(os.environ.get("ECG_DATA", ROOT.parent / "shared")) / "messages"
TABLE = Path(__file__).with_name("sample_table.csv")
with TABLE.open(newline="") as table:
    ROWS = {row["file"]: row for row in csv.DictReader(table)}


@pytest.fixture(scope="module")
def samples():
    """Folder of the HL7 v2 samples."""
    if not (MESSAGES / "hl7v2").is_dir():
        pytest.skip(f"no sample messages: {MESSAGES} is missing; set ECG_DATA")
    return MESSAGES / "hl7v2"


def told(raw):
    """What becomes of one message or batch, as the table has it."""
    if is_batch(raw):
        try:
            groups = split_batch(raw).groups
        except Refused as refusal:
            return {"outcome": refusal.reason}
        kinds = [told(message)["outcome"] for group in groups for message in group.messages]
        return {"outcome": f"batch of {len(kinds)}: {' '.join(sorted(set(kinds)))}"}
    try:
        decoded = decode(raw)
    except Refused as refusal:
        place = "-".join(map(str, refusal.location))
        return {"outcome": f"{refusal.reason} {place}".strip()}
    if decoded.kind is not Kind.ECG:
        return {"outcome": decoded.kind.value}
    return {"outcome": "ecg"} | ecgs_told(decoded.exams)


def ecgs_told(exams):
    return {
        "whose": " / ".join("patient" if exam.patient else "bed" for exam in exams),
        "leads": " / ".join(" ".join(exam.ecg.leads) for exam in exams),
        "rate_hz": " / ".join(f"{exam.ecg.sampling_rate_hz:g}" for exam in exams),
        "n_samples": " / ".join(str(exam.ecg.n_samples) for exam in exams),
        "first_mv": " / ".join(
            ", ".join(" ".join(f"{v:.4f}" for v in row[:3]) for row in exam.ecg.voltage_mv)
            for exam in exams
        ),
    }


@pytest.mark.parametrize("name", ROWS)
def test_a_sample_becomes_what_its_row_says(samples, name):
    row = ROWS[name]
    found = told((samples / name).read_bytes())
    assert found == {column: row[column] for column in found}
    if found["outcome"] != "ecg":
        assert not any(row[column] for column in ("leads", "rate_hz", "first_mv"))


def test_every_sample_has_its_row_and_every_row_its_sample(samples):
    found = {str(path.relative_to(samples)) for path in samples.rglob("*") if path.is_file()}
    assert found == set(ROWS)


def test_what_the_specification_has_beside_are_no_messages(samples):
    starts = {path.read_bytes()[:3] for path in (samples.parent / "spec").rglob("*.*")}
    assert starts
    assert not starts & {b"MSH", b"FHS", b"BHS"}


def test_every_refusal_says_why_it_is_right():
    for row in ROWS.values():
        reason = row["outcome"].split(" ")[0]
        assert reason in ANSWERS or reason in {*Kind, "batch"}, row["file"]
        assert row["why"] or reason == Kind.OTHER, row["file"]


def test_a_sample_that_lacks_one_thing_is_an_ecg_once_that_is_put_in(samples):
    """Refused for the reason told and for no other: mended, the same bytes are decoded."""
    texts = {path.stem: path.read_text() for path in (samples / "ecg-waveform").iterdir()}
    channels = texts["RECONSTRUCTED_hl7_ch7_generic_waveform_MA"].replace("0.5&mv", "0.1&mv")
    named = channels.replace("ONE", "I").replace("TWO", "II").replace("THREE", "V1")
    found = told(named.encode())
    assert (found["leads"], found["rate_hz"], found["n_samples"]) == ("I II V1", "200", "13")
    assert found["first_mv"] == "0.0000 0.1000 0.2000, 0.0000 -0.1000 -0.2000, 0.2000 0.4000 0.6000"
    rows = texts["RECONSTRUCTED_hl7_ch7_generic_waveform_NA"].replace("0.5&mv", "0.1&mv")
    named = rows.replace("ONE", "I").replace("TWO", "II").replace("THREE", "V1")
    assert told(named.encode())["first_mv"] == found["first_mv"]
    groups = texts["RECONSTRUCTED_cen_ecg_oru_w01_per_channel_groups"]
    found = told(groups.replace("|MON||", "|MON|||").encode())
    assert (found["leads"], found["n_samples"]) == ("I II", "10")
    assert found["first_mv"] == "0.0000 0.5000 1.0000, -15.0000 -14.5000 -14.0000"
    gap = texts["RECONSTRUCTED_hl7_ch7_gap_and_annotation"].replace("ONE", "II")
    found = told(gap.encode())
    assert (found["leads"], found["n_samples"]) == ("II / II", "5 / 5")
    assert found["first_mv"] == "0.0000 0.5000 1.0000 / 2.5000 3.0000 3.5000"
    capsule = texts["RECONSTRUCTED_capsule_datacaptor_waveform"]
    found = told(capsule.replace("1^2^3^4^5", "0.1^0.2^0.3^0.4^0.5", 1).encode())
    assert (found["whose"], found["leads"], found["rate_hz"]) == ("bed", "I", "250")
    mindray = texts["mindray_oru_r01_continuous_waveform_lead_I_500hz"]
    found = told(mindray.replace("^^^Hospital^PI", "7^^^Hospital^PI").encode())
    assert found["whose"] == "patient"
