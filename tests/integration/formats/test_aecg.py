from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from db.records import PatientRef
from integration.formats.aecg import MAX_CHANNELS, decode
from integration.formats.decoded import Format
from integration.formats.markup import parse_xml
from model.ecg import LEADS_12
from model.errors import EcgError
from tests.integration.formats.encoders import (
    AECG_TIME,
    STEP_UV,
    aecg_sequence,
    aecg_series,
    aecg_xml,
    make_counts,
)

COUNTS = make_counts(12, 600)
GOOD = aecg_xml(aecg_series(COUNTS))
EAST = timezone(timedelta(hours=1))


def read(content, zone=None):
    return decode(parse_xml(content), zone)


def changed(old, new, content=GOOD):
    assert old.encode() in content
    return content.replace(old.encode(), new.encode(), 1)


def test_a_rhythm_is_read():
    (found,) = read(GOOD)
    assert (found.ecg.leads, found.ecg.sampling_rate_hz) == (LEADS_12, 500.0)
    assert np.abs(found.ecg.voltage_mv * 1000 / STEP_UV - COUNTS).max() < 1e-3
    assert found.ecg.resolution_mv == pytest.approx((0.0025,) * 12)
    assert found.ecg.start == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (found.format, found.acquired) == (Format.AECG, found.ecg.start)
    assert found.patients == (PatientRef("S-1", "1.2.3"),)
    assert found.device == "Maker M1"


def test_a_representative_beat_is_no_recording():
    beat = aecg_series(COUNTS[:, :100], code="REPRESENTATIVE_BEAT")
    nested = aecg_series(COUNTS).replace("</series>", f"<derivation>{beat}</derivation></series>")
    for content in (aecg_xml(nested), aecg_xml(beat, aecg_series(COUNTS))):
        assert [one.ecg.n_samples for one in read(content)] == [600]
    with pytest.raises(EcgError, match="samples-missing"):
        read(aecg_xml(beat))
    with pytest.raises(EcgError, match="samples-missing"):
        read(aecg_xml())


def test_several_rhythms_are_several_recordings():
    later = aecg_series(COUNTS[:2], ("I", "II"), head="20260102040405+0100")
    first, second = read(aecg_xml(aecg_series(COUNTS), later))
    assert (len(first.ecg.leads), second.ecg.leads) == (12, ("I", "II"))
    assert second.acquired - first.acquired == timedelta(hours=1)


@pytest.mark.parametrize(
    ("increment", "rate_hz"),
    [('"0.002" unit="s"', 500), ('"4" unit="ms"', 250), ('"1000" unit="us"', 1000),
     ('"0.003333333" unit="s"', 300.00003)],
)  # fmt: skip
def test_rates(increment, rate_hz):
    (found,) = read(changed('"0.002" unit="s"', increment))
    assert found.ecg.sampling_rate_hz == pytest.approx(rate_hz, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "scale", "step_mv"),
    [("mV", "0.005", 0.005), ("V", "5e-6", 0.005), ("nV", "2500", 0.0025), ("\u00b5V", "5", 0.005)],
)
def test_units(unit, scale, step_mv):
    (found,) = read(aecg_xml(aecg_series(COUNTS[:0], ())).replace(
        b"</sequenceSet>",
        f"<component><sequence>{aecg_sequence('V1', [1, -2], scale, unit)}</sequence></component>"
        "</sequenceSet>".encode(),
    ))  # fmt: skip
    assert found.ecg.lead("V1").tolist() == pytest.approx([step_mv, -2 * step_mv])


def test_origin_has_a_unit_of_its_own():
    (found,) = read(changed('origin value="0" unit="uV"', 'origin value="-0.5" unit="mV"'))
    assert found.ecg.lead("I")[0] == pytest.approx(COUNTS[0, 0] * STEP_UV / 1000 - 0.5, abs=1e-6)


@pytest.mark.parametrize("null", ["NULL", "NaN", "NI", "UNK"])
def test_null_is_no_value(null):
    (found,) = read(changed(f"<digits>{COUNTS[0, 0]} ", f"<digits>{null} "))
    assert np.isnan(found.ecg.voltage_mv[0]).tolist() == [True] + [False] * 599


@pytest.mark.parametrize(
    ("head", "series", "acquired"),
    [
        ("20260102030405.5-0500", "x", datetime(2026, 1, 2, 8, 4, 5, 500_000, tzinfo=UTC)),
        ("20260102030405", "x", date(2026, 1, 2)),
        ("20260102", "x", date(2026, 1, 2)),
        ("", "20260103030405Z"[:-1] + "+0000", datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC)),
        ("", "", date(2026, 1, 1)),  # the whole document's
    ],
)
def test_when_it_was_recorded(head, series, acquired):
    content = aecg_xml(aecg_series(COUNTS, head=head))
    if series != "x":
        content = changed("20260102030400+0100", series, content)
    (found,) = read(content)
    assert found.acquired == acquired
    assert found.ecg.start == (acquired if isinstance(acquired, datetime) else None)


def test_a_known_zone_makes_a_time_of_it():
    (found,) = read(aecg_xml(aecg_series(COUNTS, head="20260102030405")), EAST)
    assert found.acquired == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)


def test_relative_times_count_from_the_series():
    relative = AECG_TIME.format(head="1.5").replace("ABSOLUTE", "RELATIVE")
    relative = relative.replace('head value="1.5"', 'head value="1.5" unit="s"')
    content = changed(AECG_TIME.format(head="20260102030405.000+0100"), relative)
    assert read(content)[0].acquired == datetime(2026, 1, 2, 2, 4, 1, 500_000, tzinfo=UTC)


def test_no_time_is_beyond_the_calendar():
    relative = AECG_TIME.format(head="9e5").replace("ABSOLUTE", "RELATIVE")
    relative = relative.replace('head value="9e5"', 'head value="9e5" unit="s"')
    content = changed(AECG_TIME.format(head="20260102030405.000+0100"), relative)
    content = changed("20260102030400+0100", "99991231235959+0000", content)
    with pytest.raises(EcgError, match="time-malformed"):
        read(content)


@pytest.mark.parametrize(
    ("subject", "patients"),
    [
        ("", ()),
        ('<id nullFlavor="MSK"/>', ()),
        ('<id root="1.2.3.4"/>', (PatientRef("1.2.3.4"),)),
        ('<id extension=" 7 "/>', (PatientRef("7"),)),
        ('<id root="1" extension="7"/><id root="1" extension="7"/>', (PatientRef("7", "1"),)),
        (
            '<id root="1" extension="7"/><id root="2" extension="7"/>',
            (PatientRef("7", "1"), PatientRef("7", "2")),
        ),
    ],
)
def test_whom_it_names(subject, patients):
    assert read(aecg_xml(aecg_series(COUNTS), subject=subject))[0].patients == patients


def test_other_channels_are_left_out():
    content = changed("MDC_ECG_LEAD_I", "MDC_ECG_LEAD_V3R")
    assert read(content)[0].ecg.leads == LEADS_12[1:]


ONE = aecg_xml(aecg_series(COUNTS[:1], ("I",)))
MANY = aecg_xml(aecg_series(np.ones((MAX_CHANNELS + 1, 2), int), ("I",) * (MAX_CHANNELS + 1)))
DIGITS = " ".join(map(str, COUNTS[0]))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("MDC_ECG_LEAD_I", "MDC_ECG_LEAD_X", "lead-missing"),
        ('LEAD_I"', 'LEAD_I" displayName="Lead II"', "lead-mismatch"),
        ("TIME_ABSOLUTE", "TIME", "rate-missing"),
        ("GLIST_TS", "SLIST_TS", "rate-missing"),
        ('"0.002" unit="s"', '"0.002"', "rate-missing"),
        ('"0.002" unit="s"', '"0.002" unit="min"', "rate-missing"),
        ('"0.002" unit="s"', '"0" unit="s"', "rate-missing"),
        ('"0.002" unit="s"', '"-1" unit="s"', "rate-missing"),
        ('"0.002" unit="s"', '"1e-300" unit="s"', "rate-out-of-range"),
        ('"0.002" unit="s"', '"1e300" unit="s"', "rate-missing"),
        ('"0.002" unit="s"', '"nan" unit="s"', "rate-missing"),
        ("20260102030405.000+0100", "yesterday", "time-malformed"),
        ("SLIST_PQ", "GLIST_PQ", "waveform-unsupported"),
        ('<origin value="0" unit="uV"/>', "", "resolution-missing"),
        ('<scale value="2.5" unit="uV"/>', "", "resolution-missing"),
        ('scale value="2.5"', 'scale value="2,5"', "resolution-malformed"),
        ('scale value="2.5"', 'scale value="0"', "resolution-out-of-range"),
        ('scale value="2.5"', 'scale value="-1"', "resolution-out-of-range"),
        ('scale value="2.5" unit="uV"', 'scale value="2.5" unit="mV"', "resolution-out-of-range"),
        ('scale value="2.5" unit="uV"', 'scale value="2.5" unit="mm"', "unit-unknown"),
        ('scale value="2.5" unit="uV"', 'scale value="2.5"', "unit-unknown"),
        ('origin value="0"', 'origin value="1e300"', "amplitude-implausible"),
        (DIGITS, "", "samples-missing"),
        (DIGITS, "1 x 2", "samples-malformed"),
        (DIGITS, "1 - 2", "samples-malformed"),
        (DIGITS, "1,2", "samples-malformed"),
        (DIGITS, "1 99999999999999999999", "samples-malformed"),
        (DIGITS, "1 1e999", "samples-malformed"),
        (DIGITS, "\u0661 2", "samples-malformed"),
        (DIGITS, "1 20000", "amplitude-implausible"),
    ],
)
def test_what_contradicts_or_is_missing_is_refused(old, new, reason):
    with pytest.raises(EcgError) as refused:
        read(changed(old, new, ONE))
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (MANY, "leads-malformed"),
        (changed(f" {COUNTS[3, -1]}</digits>", "</digits>"), "lengths-differ"),
        (aecg_xml(aecg_series(COUNTS[:2], ("I", "I"))), "lead-duplicate"),
        (aecg_xml(aecg_series(COUNTS[:0], ())), "lead-missing"),
        (aecg_xml(aecg_series(COUNTS, head="") .replace("sequence>", "other>")), "rate-missing"),
        (aecg_xml("<series><code code='RHYTHM'/>" + "<component><sequenceSet/></component>" * 65
                  + "</series>"), "waveform-unsupported"),
    ],
)  # fmt: skip
def test_sets_that_do_not_fit_together_are_refused(content, reason):
    with pytest.raises(EcgError) as refused:
        read(content)
    assert refused.value.reason == reason
