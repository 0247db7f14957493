"""What stands on the page, and where."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.records import Assessed, PatientRef
from db.reviews import Decision, ReportStatus, Review, Reviewer
from integration.render.page import MAX_SHEETS, sheets
from integration.render.shapes import HEIGHT_MM, WIDTH_MM, Bar, Grid, Text, Trace
from model.ecg import LEADS_12, Ecg
from model.findings import (
    AAMI_CLASSES,
    ABNORMALITY_TYPES,
    RHYTHM_NAMES,
    EpisodeFinding,
    Interval,
    LeadFault,
    Quality,
    RhythmFinding,
)

ISSUED = datetime(2026, 3, 1, 13, 31, 2, tzinfo=UTC)


def assessed(exam, findings, review=None, status="preliminary"):
    return Assessed(exam, findings, ISSUED, 1, ReportStatus(status), ISSUED, review)


def ecg(leads=LEADS_12, seconds=10.0, rate=100.0):
    n = round(seconds * rate)
    wave = np.sin(np.arange(n) / 10).astype(np.float32)
    return Ecg(np.stack([wave] * len(leads)), leads, rate)


@pytest.fixture
def pages(exam, findings_of):
    def make(kind="flagged", recording=None, **changes):
        about = replace(exam, ecg=recording or ecg(), **changes)
        return sheets(assessed(about, findings_of(kind)))

    return make


def texts(sheet):
    return [s.text for s in sheet.shapes if isinstance(s, Text)]


def extent(shape):
    if isinstance(shape, Trace):
        low, high = shape.points.min(axis=0) / 100, shape.points.max(axis=0) / 100
        return low[0], low[1], high[0], high[1]
    if isinstance(shape, Text):
        # Helvetica is about half as wide as it is high.
        return (
            shape.x,
            shape.y - shape.size_mm,
            shape.x + len(shape.text) * shape.size_mm * 0.5,
            shape.y,
        )
    return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height


def assert_apart(boxes):
    for n, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[n + 1 :]:
            beside = right <= other[0] or other[2] <= left
            assert beside or bottom <= other[1] or other[3] <= top


def test_twelve_leads_and_a_rhythm_strip(pages):
    (page,) = pages()
    labels = [t for t in texts(page) if t in LEADS_12]
    assert sorted(labels) == sorted([*LEADS_12, "II"])
    lines = [s for s in page.shapes if isinstance(s, Trace)]
    assert len(lines) == 13 + 4  # and a pulse a row
    widths = sorted(round(np.ptp(s.points[:, 0]) / 100) for s in lines)
    assert widths == [9] * 4 + [62] * 12 + [250]


def test_the_pulse_is_a_millivolt(pages):
    (page,) = pages()
    pulses = [s for s in page.shapes if isinstance(s, Trace)][:4]
    assert {np.ptp(p.points[:, 1]) for p in pulses} == {1000}


def test_everything_stands_on_the_paper(exam, any_findings):
    for sheet in sheets(assessed(replace(exam, ecg=ecg()), any_findings)):
        for shape in sheet.shapes:
            left, top, right, bottom = extent(shape)
            assert 5 <= left <= right <= WIDTH_MM - 5, shape
            assert 5 <= top <= bottom <= HEIGHT_MM - 5, shape


def test_the_page_says_what_it_is_and_whose(pages):
    said = " ".join(texts(pages()[0]))
    for words in (
        "ECG ANALYSIS BY AI - PRELIMINARY",
        "AI-generated, not yet reviewed by a clinician.",
        "MRN-4711 (ST-ELSEWHERE)",
        "PLACER-1",
        "2026-03-01 08:30:15-05:00",
        "2026-03-01 13:31:02",
        "25 mm/s   10 mm/mV   100 Hz",
        "resting-12 1.2.0",
        "not a diagnosis",
    ):
        assert words in said


def test_findings_with_probability_threshold_and_place(pages):
    said = texts(pages()[0])
    row = said.index("Myocardial infarction (MI)")
    assert said[row + 1 : row + 4] == [
        "0.91",
        "FLAGGED (from 0.50)",
        "V2, 3.1-3.6 s; V5, 7.0-7.4 s",
    ]
    row = said.index("Conduction disturbance (CD)")
    assert said[row + 1 : row + 4] == ["0.03", "below (from 0.50)", ""]


def drawn(shape):
    """Whether it is a lead's line; pulses are narrower."""
    return isinstance(shape, Trace) and np.ptp(shape.points[:, 0]) > 1000


def bars(sheet):
    return [s for s in sheet.shapes if isinstance(s, Bar)]


def test_attended_stretches_are_marked_in_time(pages):
    (page,) = pages()
    rhythm = [b for b in bars(page) if b.y > 140]
    # 3.12-3.52 s and 7.04-7.36 s (MI), 1.0-1.4 s (CD), 7.1-7.5 s (anomaly) of the strip
    assert sorted(round(b.x - 28.0, 1) for b in rhythm) == [25.0, 78.0, 176.0, 177.5]
    assert sorted(round(b.width, 1) for b in rhythm) == [8.0, 10.0, 10.0, 10.0]


def test_a_stretch_is_marked_in_its_lead_where_that_lead_shows_the_time(pages):
    (page,) = pages()
    others = [b for b in bars(page) if b.y < 140]
    # V2 shows 5.0-7.5 s, V5 7.5-10 s, aVL 2.5-5 s: none of the stretches lies there.
    assert others == []


def test_the_bars_of_many_findings_stay_on_the_grid(exam, findings_of):
    codes = [*ABNORMALITY_TYPES, "anomaly"]
    marks = tuple(Interval(n, n + 0.4, "II", 0.1, code) for n, code in enumerate(codes))
    flagged = findings_of("flagged")
    findings = replace(flagged, explanation=replace(flagged.explanation, intervals=marks))
    (page,) = sheets(assessed(replace(exam, ecg=ecg()), findings))
    (grid,) = [s for s in page.shapes if isinstance(s, Grid)]
    rhythm = [b for b in bars(page) if b.y > 133]
    assert len({b.y for b in rhythm}) == len(codes)
    assert max(b.y + b.height for b in rhythm) <= grid.y + grid.height


def test_nothing_is_marked_when_nothing_is_flagged(pages):
    assert bars(pages("unflagged")[0]) == []


def test_every_beat_that_was_read_is_lettered_ectopic_ones_boldly(pages):
    (page,) = pages("rhythm")
    letters = [s for s in page.shapes if isinstance(s, Text) and s.text in AAMI_CLASSES]
    assert "".join(s.text for s in letters) == "NNVNSNNNVN"
    assert {(s.ink, s.bold) for s in letters if s.text != "N"} == {("black", True)}
    assert {(s.ink, s.bold) for s in letters if s.text == "N"} == {("grey", False)}
    assert [round(s.x - 27.2) for s in letters] == [20 * n for n in range(10)]
    said = " ".join(texts(page))
    assert "Atrial fibrillation or flutter FLAGGED" in " ".join(t for t in said.split(" ") if t)
    assert "0.0-6.5 s, probability 0.83, flagged from 0.50" in said
    assert "2 ventricular, 1 supraventricular, of 10 beats" in said
    assert "Heart rate 72/min" in said


def rhythms(*found):
    return tuple(RhythmFinding(c, start, start + 3.0, v, t) for c, start, v, t in found)


EVERY_RHYTHM = rhythms(
    ("tachycardia", 0.0, 165.0, 100.0),
    ("supraventricular-run", 3.0, 5.0, 3.0),
    ("AF", 5.0, 0.9, 0.5),
    ("bradycardia", 10.0, 45.0, 50.0),
    ("ventricular-run", 15.0, 3.0, 3.0),
    ("ventricular-run", 20.0, 14.0, 3.0),
    ("bradycardia", 25.0, 31.0, 50.0),
    ("pause", 30.0, 4.2, 3.0),
)


@pytest.fixture
def findings_with(findings_of):
    def make(kind, found, episode=None):
        strip = replace(findings_of("strip").strip, rhythms=found)
        return replace(findings_of(kind), strip=strip, episode=episode)

    return make


def rows(findings, exam):
    """The findings as printed: name, result, threshold and where."""
    said = texts(sheets(assessed(replace(exam, ecg=ecg()), findings))[0])
    first = next(n for n, text in enumerate(said) if "mm/mV" in text) + 1
    last = next(n for n, text in enumerate(said) if text.startswith("Quality: "))
    return [said[n : n + 4] for n in range(first, last, 4)]


def test_rhythms_stand_gravest_first_each_with_its_most_extreme_value(exam, findings_with):
    told = rows(findings_with("strip", EVERY_RHYTHM), exam)
    assert told[0] == ["Abnormality types of 12 leads", "", "not assessed", ""]
    told = told[1:]
    assert [row[0] for row in told] == [*RHYTHM_NAMES.values(), "Ectopic beats"]
    assert told[0][2:] == ["FLAGGED", "20.0-23.0 s, 14 beats, flagged from 3 beats; 1 more"]
    assert "31 beats/min" in told[4][3]


def test_rhythms_that_find_no_room_are_named_with_what_was_measured(exam, findings_with):
    told = rows(findings_with("flagged", EVERY_RHYTHM), exam)[6:]
    assert [row[0] for row in told] == [
        "Ventricular run",
        "Pause",
        "Further rhythm findings",
        "Ectopic beats",
    ]
    assert told[2][1:3] == ["4", "FLAGGED"]
    assert told[2][3] == (
        "AF probability 0.90; tachycardia 165 beats/min; bradycardia 31 beats/min; "
        "supraventricular run 5 beats"
    )


ONGOING = EpisodeFinding("pause", ISSUED, ISSUED + timedelta(seconds=75), None, 4.2, 3.0)


def test_an_episode_is_told_where_the_ecg_could_not_be_analysed(exam, findings_of):
    told = rows(replace(findings_of("unscorable"), episode=ONGOING), exam)
    episode = "episode since 2026-03-01 13:31:02+00:00, 4.2 s, flagged from 3.0 s"
    assert told[0] == ["Pause", "", "FLAGGED", episode]
    assert [row[0] for row in told] == ["Pause", "Could not be analysed"]


def test_an_episode_that_ended_has_its_duration(exam, findings_with):
    told = rows(findings_with("strip", (), replace(ONGOING, ended="over")), exam)
    assert "for 1 min 15 s, 4.2 s" in told[0][3]
    assert told[2][0] == "Rhythm"


def test_the_fullest_page_has_room_for_all_of_it(exam, findings_with):
    findings = findings_with("flagged", EVERY_RHYTHM, replace(ONGOING, ended="signal-lost"))
    about = assessed(replace(exam, ecg=ecg()), findings)
    foot = [extent(s) for s in sheets(about)[0].shapes if isinstance(s, Text) and s.y > 165]
    assert max(right for _, _, right, _ in foot) <= WIDTH_MM - 5
    assert_apart(foot)


def test_a_type_that_the_leads_cannot_carry_is_named_as_not_assessed(exam, findings_of):
    flagged = findings_of("flagged")
    without = tuple(t for t in flagged.types if t.code != "HYP")
    told = rows(replace(flagged, types=without), exam)
    hypertrophy = next(row for row in told if "HYP" in row[0])
    assert hypertrophy[1:] == ["", "not assessed", "these leads cannot carry it"]


def test_a_rhythm_that_was_not_read_is_named_as_not_assessed(exam, findings_of):
    assert rows(findings_of("unflagged"), exam)[-1] == ["Rhythm", "", "not assessed", ""]


def test_the_worst_ecg_says_so_on_the_paper(exam, findings_of):
    faults = tuple(LeadFault(lead, "lead-missing-samples") for lead in LEADS_12)
    quality = Quality("unscorable", ("too-few-leads", "no-qrs", "limb-leads-inconsistent"), faults)
    findings = replace(findings_of("unscorable"), quality=quality)
    (page,) = sheets(assessed(replace(exam, ecg=ecg()), findings))
    foot = [extent(s) for s in page.shapes if isinstance(s, Text) and s.y > 165]
    assert max(right for _, _, right, _ in foot) <= WIDTH_MM - 5
    assert_apart(foot)


def test_what_could_not_be_analysed_says_so(pages):
    said = texts(pages("unscorable")[0])
    assert "Could not be analysed" in said
    assert not any(word in text for text in said for word in ("below", "FLAGGED"))


def test_a_lead_that_was_not_used_says_why(pages, exam, findings_of):
    said = texts(pages("limited")[0])
    assert "V1 (noise: not used)" in said
    assert "V2 (flat line: not used)" in said


@pytest.mark.parametrize(("kind", "ink"), [("limited", "black"), ("flagged", "grey")])
def test_a_limited_quality_is_printed_in_black(pages, kind, ink):
    (page,) = pages(kind)
    (note,) = [s for s in page.shapes if isinstance(s, Text) and s.text.startswith("Quality: ")]
    assert note.ink == ink


def test_a_missing_lead_is_named_as_missing(pages):
    (page,) = pages(recording=ecg(LEADS_12[:6]))
    assert texts(page).count("V3 not recorded") == 1


@pytest.mark.parametrize(
    ("leads", "seconds", "rows", "n_pages"),
    [
        (("II",), 10.0, 1, 1),
        (("II", "V1"), 10.0, 2, 1),
        (("I",), 60.0, 6, 2),
        (("I",), 5.0, 1, 1),
        (LEADS_12, 6.0, 12, 3),
        (LEADS_12, 9.4, 12, 3),
    ],
)
def test_strips(pages, leads, seconds, rows, n_pages):
    made = pages("strip", ecg(leads, seconds))
    assert len(made) == n_pages
    assert len([s for p in made for s in p.shapes if drawn(s)]) == rows


def test_every_lead_of_a_short_ecg_is_shown_whole(pages):
    made = pages("flagged", ecg(seconds=6.0))
    labels = [text for page in made for text in texts(page) if text in LEADS_12]
    assert labels == [*LEADS_12]
    widths = {round(np.ptp(s.points[:, 0]) / 100) for p in made for s in p.shapes if drawn(s)}
    assert widths == {150}


def test_a_lead_that_is_shown_whole_has_its_own_stretches_and_the_first_those_of_none(pages):
    # MI in V2 and, after 7 s, in V5; CD in aVL; an anomaly in II, after 7 s.
    first, second, third = (
        [(round(b.y), round(b.x - 28.0)) for b in bars(page)]
        for page in pages("flagged", ecg(("II", "V1", "V2", *LEADS_12[2:4], "V5"), 15.0))[:3]
    )
    assert first == [(69, 25), (71, 178), (129, 78)]
    assert (second, third) == ([(99, 176)], [])


def test_the_usual_page_has_no_empty_columns(pages):
    (page,) = pages("flagged", ecg(seconds=9.5))
    assert len([s for s in page.shapes if drawn(s)]) == 13


def test_a_long_recording_has_a_last_page_and_says_so(pages):
    made = pages("strip", ecg(("I",), 3000.0))
    assert len(made) == MAX_SHEETS
    assert any("first 240 s" in text for text in texts(made[0]))


def test_grid_is_ecg_paper(pages):
    (grid,) = [s for s in pages()[0].shapes if isinstance(s, Grid)]
    assert (grid.width % 5, grid.height % 5) == (0, 0)


def test_patient_without_authority(pages):
    said = texts(pages(patient=PatientRef("77"))[0])
    assert "77" in said


def test_faults_of_leads_that_are_not_there_do_not_matter(exam, findings_of):
    quality = Quality("limited", (), (LeadFault("V1", "noise"),))
    findings = replace(findings_of("limited"), quality=quality)
    (page,) = sheets(assessed(replace(exam, ecg=ecg(LEADS_12[:6])), findings))
    assert "V1 not recorded (noise: not used)" in texts(page)


@pytest.mark.parametrize(
    ("status", "decision", "first", "second"),
    [
        ("final", "confirm", "FINAL", "AI-generated, confirmed by a clinician."),
        ("amended", "override", "AMENDED", "AI-generated, overridden by a clinician."),
        (
            "entered-in-error",
            "reject",
            "WITHDRAWN",
            "AI-generated, rejected by a clinician: not to be used.",
        ),
    ],
)
def test_a_reviewed_page_says_by_whom(*, exam, findings_of, status, decision, first, second):
    review = Review(Decision(decision), Reviewer(None, None, "7", "Dr. A"), ISSUED, "AF")
    about = replace(exam, ecg=ecg())
    (page,) = sheets(assessed(about, findings_of("flagged"), review, status))
    said = texts(page)
    assert said[:2] == [
        f"ECG ANALYSIS BY AI - {first}",
        f"{second} Dr. A, 2026-03-01 13:31:02+00:00",
    ]
    assert not [t for t in said if "not yet reviewed" in t]


@pytest.mark.parametrize("decision", ["override", "confirm", "reject"])
def test_a_reviewed_page_says_what_the_clinician_said(exam, findings_of, decision):
    review = Review(Decision(decision), Reviewer(None, None, "7", "Dr. A"), ISSUED, "Not\n AF.")
    about = assessed(replace(exam, ecg=ecg()), findings_of("rhythm"), review, "amended")
    assert "Clinician: Not AF." in texts(sheets(about)[0])


def test_nothing_in_the_head_is_printed_over_something_else(exam, findings_of):
    said = "Myocardial infarction " * 100
    review = Review(Decision.OVERRIDE, Reviewer(None, None, "7", "Dr. " + "A" * 246), ISSUED, said)
    patient, order = PatientRef("X" * 250, "X" * 250), "O" * 250
    about = replace(exam, ecg=ecg(), patient=patient, placer_order=order)
    (page,) = sheets(assessed(about, findings_of("rhythm"), review, "amended"))
    head = [s for s in page.shapes if isinstance(s, Text) and s.y < 33]
    assert len([s for s in head if s.text.endswith("\N{HORIZONTAL ELLIPSIS}")]) == 4
    widths = {"X": 0.667, "O": 0.778, "A": 0.722}  # of Helvetica
    boxes = [
        (s.x, s.y - s.size_mm, s.x + len(s.text) * s.size_mm * widths.get(s.text[40:41], 0.56), s.y)
        for s in head
    ]
    assert_apart(boxes)
    assert max(right for _, _, right, _ in boxes) <= WIDTH_MM - 5


def peaked(lead, high, low=0.0, seconds=10.0):
    """Return twelve leads of which one has a wave up and one down wherever it is shown."""
    recording = ecg(seconds=seconds)
    voltage = np.zeros_like(recording.voltage_mv)
    voltage[LEADS_12.index(lead), 50::100] = high
    voltage[LEADS_12.index(lead), 60::100] = low
    return replace(recording, voltage_mv=voltage)


def test_a_tall_wave_is_drawn_as_tall_as_it_is(pages):
    (page,) = pages("unflagged", peaked("V2", 3.5, -4.2))
    assert 77.0 in {np.ptp(s.points[:, 1]) / 100 for s in page.shapes if drawn(s)}
    assert "V2" in texts(page)


@pytest.mark.parametrize(
    ("lead", "high", "low", "label"),
    [
        ("V4", 3.4, 0.0, "V4 (+3.4 mV: cut off)"),
        ("II", 0.0, -2.0, "II (-2.0 mV: cut off)"),
        ("V1", 3.1, -12.0, "V1 (+3.1 and -12.0 mV: cut off)"),
    ],
)
def test_a_lead_says_how_tall_the_waves_are_that_the_paper_cuts_off(pages, lead, high, low, label):
    (page,) = pages("unflagged", peaked(lead, high, low))
    assert [t for t in texts(page) if "cut off" in t] == [label]


def test_noise_of_a_lead_that_is_not_used_stays_off_its_label_and_in_its_row(pages):
    (page,) = pages("limited", peaked("V1", 5.0, -5.0))
    (noisy,) = [s.points / 100 for s in page.shapes if drawn(s) and np.ptp(s.points[:, 1]) > 0]
    (label,) = [s for s in page.shapes if isinstance(s, Text) and s.text.startswith("V1 (")]
    assert (noisy[:, 1].min(), noisy[:, 1].max()) == (49.0, 73.0)
    assert label.y < 49.0
    assert label.text == "V1 (noise: not used)"
