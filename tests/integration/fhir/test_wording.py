"""The words a clinician reads, in full."""

from dataclasses import replace
from datetime import date

import pytest

from integration.fhir import wording
from model.beats import MAX_RATE_HZ, MIN_RATE_HZ
from model.findings import LeadFault, Quality, RhythmFinding

CONCLUSIONS = {
    "flagged": (
        "AI-generated, not yet reviewed by a clinician. "
        "Suspected myocardial infarction (probability 0.91, flagged from 0.50; "
        "model attention strongest in V2, 3.1-3.6 s; V5, 7.0-7.4 s). "
        "Suspected ST/T change (probability 0.50, flagged from 0.50). "
        "Suspected hypertrophy (probability 0.77, flagged from 0.50). "
        "The ECG as a whole differs from normal ECGs beyond the threshold "
        "(anomaly score 0.99, flagged from 0.95; largest deviation in II, 7.1-7.5 s). "
        "Decision support, not a diagnosis."
    ),
    "unflagged": (
        "AI-generated, not yet reviewed by a clinician. "
        "No abnormality type reached its threshold, which does not exclude one. "
        "The ECG as a whole does not differ from normal ECGs beyond the threshold "
        "(anomaly score 0.20, flagged from 0.95). "
        "Decision support, not a diagnosis."
    ),
    "anomalous": (
        "AI-generated, not yet reviewed by a clinician. "
        "No abnormality type reached its threshold, which does not exclude one. "
        "The ECG as a whole differs from normal ECGs beyond the threshold "
        "(anomaly score 0.95, flagged from 0.95; largest deviation in II, 7.1-7.5 s). "
        "Decision support, not a diagnosis."
    ),
    "limited": (
        "AI-generated, not yet reviewed by a clinician. "
        "Suspected conduction disturbance (probability 0.60, flagged from 0.50). "
        "The ECG as a whole does not differ from normal ECGs beyond the threshold "
        "(anomaly score 0.10, flagged from 0.95). "
        "Signal quality limited; unreadable: V1 (noise), V2 (flat line). "
        "Decision support, not a diagnosis."
    ),
    "rhythm": (
        "AI-generated, not yet reviewed by a clinician. "
        "No abnormality type reached its threshold, which does not exclude one. "
        "The ECG as a whole does not differ from normal ECGs beyond the threshold "
        "(anomaly score 0.20, flagged from 0.95). "
        "Suspected atrial fibrillation or flutter "
        "(0.0-6.5 s, probability 0.83, flagged from 0.50). "
        "Suspected bradycardia (6.5-9.9 s, 38 beats/min, flagged below 50 beats/min). "
        "Suspected ectopic beats: 2 ventricular, 1 supraventricular, of 10 beats. "
        "Heart rate 72/min. "
        "Decision support, not a diagnosis."
    ),
    "plain-rhythm": (
        "AI-generated, not yet reviewed by a clinician. "
        "No abnormality type reached its threshold, which does not exclude one. "
        "The ECG as a whole does not differ from normal ECGs beyond the threshold "
        "(anomaly score 0.20, flagged from 0.95). "
        "Heart rate unknown. "
        "Decision support, not a diagnosis."
    ),
    "strip": (
        "AI-generated, not yet reviewed by a clinician. "
        "The abnormality types of a 12-lead ECG were not assessed. "
        "Suspected atrial fibrillation or flutter "
        "(0.0-6.5 s, probability 0.83, flagged from 0.50). "
        "Suspected bradycardia (6.5-9.9 s, 38 beats/min, flagged below 50 beats/min). "
        "Suspected ectopic beats: 2 ventricular, 1 supraventricular, of 10 beats. "
        "Heart rate 72/min. "
        "Decision support, not a diagnosis."
    ),
    "unscorable": (
        "AI-generated, not yet reviewed by a clinician. "
        "The ECG could not be analysed: too few readable leads, no QRS complexes found; "
        "unreadable: V1 (lead off). "
        "Nothing is said about the heart; consider repeating the recording."
    ),
}


@pytest.mark.parametrize("kind", list(CONCLUSIONS))
def test_conclusion(findings_of, kind):
    assert wording.conclusion(findings_of(kind)) == CONCLUSIONS[kind]


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (Quality("good"), "good"),
        (Quality("limited", (), (LeadFault("aVR", "saturated"),)), "limited; unreadable: aVR (s"),
        (
            Quality("limited", ("few-leads", "no-readable-lead"), (LeadFault("V1", "noise"),)),
            "limited; in part not assessed: some findings need more leads, no lead shows the beats",
        ),
        (Quality("unscorable", ("no-readable-lead",)), "no lead shows the beats clearly"),
        (Quality("unscorable", ("too-short",)), "the recording is too short"),
        (Quality("unscorable", ("new-reason",)), "new reason"),
        (Quality("unscorable"), "unscorable"),
    ],
)
def test_quality_in_words(quality, words):
    assert wording.quality_in_words(quality).startswith(words)


def test_a_conclusion_says_what_keeps_a_part_from_being_assessed(findings_of):
    strip, types = findings_of("strip"), findings_of("flagged")
    partly = replace(strip, quality=Quality("limited", ("no-readable-lead",)))
    why = "Signal quality limited; in part not assessed: no lead shows the beats clearly. "
    said = CONCLUSIONS["strip"].replace("Decision", f"{why}Decision")
    assert wording.conclusion(partly) == said
    few = replace(types, quality=Quality("limited", ("few-leads",)))
    assert wording.conclusion(few) == CONCLUSIONS["flagged"]


def test_the_rates_that_are_read_are_those_that_are_told():
    read = f"{MIN_RATE_HZ:g}-{MAX_RATE_HZ:g} Hz"
    assert read in wording.reason_in_words("rate-out-of-range")


def test_the_gravest_rhythm_is_told_first_and_its_most_extreme_value(findings_of):
    rhythms = (
        RhythmFinding("bradycardia", 0.0, 9.0, 45.0, 50.0),
        *(RhythmFinding("ventricular-run", 10.0 * n, 12.0, 3.0, 3.0) for n in range(3)),
        RhythmFinding("bradycardia", 40.0, 49.0, 31.0, 50.0),
        RhythmFinding("ventricular-run", 50.0, 55.0, 14.0, 3.0),
    )
    strip = replace(findings_of("strip").strip, rhythms=rhythms)
    said = wording.conclusion(replace(findings_of("strip"), strip=strip))
    assert "Suspected ventricular run (50.0-55.0 s, 14 beats, flagged from 3 beats; 0.0-" in said
    assert "1 more). Suspected bradycardia (40.0-49.0 s, 31 beats/min" in said


@pytest.mark.parametrize(
    ("start_s", "end_s", "told"),
    [
        (5.0, 5.04, "5.0-5.1"),
        (4.16, 4.24, "4.1-4.3"),
        (3.1, 3.5, "3.1-3.5"),
        (0.28, 0.3, "0.2-0.3"),
    ],
)
def test_a_short_stretch_is_told_with_a_length(findings_of, start_s, end_s, told):
    findings = findings_of("flagged")
    first = replace(findings.explanation.intervals[0], start_s=start_s, end_s=end_s)
    findings = replace(findings, explanation=replace(findings.explanation, intervals=(first,)))
    assert wording.places(findings, first.type_code) == f"{first.lead}, {told} s"


def test_page_tabulates_every_number(exam, findings_of, issued):
    lines = wording.page(exam, findings_of("flagged"), issued).splitlines()
    assert "Recorded  2026-03-01 08:30:15-05:00" in lines
    assert "Issued    2026-03-01 13:31:02+00:00" in lines
    assert "Myocardial infarction       0.91        0.50  flagged" in lines
    assert "Arrhythmia                  0.03        0.50" in lines
    assert "Anomaly score               0.99        0.95  flagged" in lines
    assert "Quality   good" in lines


def test_model_without_an_anomaly_score(exam, findings_of, issued):
    findings = replace(findings_of("flagged"), anomaly_score=None, anomaly_threshold=None)
    text = wording.page(exam, findings, issued)
    assert "Suspected myocardial infarction" in text
    assert "as a whole" not in text
    assert "Anomaly score" not in text


@pytest.mark.parametrize(
    ("acquired", "line"),
    [(date(2026, 3, 1), "Recorded  2026-03-01"), (None, "Recorded  unknown")],
)
def test_page_says_what_is_known_of_the_time(exam, findings_of, issued, acquired, line):
    text = wording.page(replace(exam, acquired=acquired), findings_of("unflagged"), issued)
    assert line in text.splitlines()


def test_page_of_an_unscorable_ecg_has_no_table(exam, findings_of, issued):
    text = wording.page(exam, findings_of("unscorable"), issued)
    assert "threshold" not in text
    assert "Quality   too few readable leads" in text
