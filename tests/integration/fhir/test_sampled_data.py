"""SampledData of R4 and R5 against values worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Refused
from integration.fhir.element import Element
from integration.fhir.sampled_data import is_voltage, read_sampled_data
from tests.fhir_observations import UCUM, sampled


def read(data="0 1", **changes):
    return read_sampled_data(Element(sampled(data, **changes), "D"))


def quantity(code, value=0, **changes):
    return {"value": value, "unit": code, "system": UCUM, "code": code} | changes


def refused(data="0 1", **changes):
    with pytest.raises(Refused) as caught:
        read(data, **changes)
    return caught.value.reason, caught.value.expression


@pytest.mark.parametrize(
    ("unit", "data", "expected_mv"),
    [("mV", "0.5 -1", [0.5, -1]), ("uV", "500 -1000", [0.5, -1]), ("nV", "500000", [0.5]),
     ("V", "0.0005", [0.5])],
)  # fmt: skip
def test_units(unit, data, expected_mv):
    assert read(data, origin=quantity(unit), factor=None).mv.tolist() == pytest.approx(expected_mv)


def test_value_is_data_times_factor_plus_origin():
    found = read("500 1100", origin=quantity("mV", -0.5), factor=0.001, period=8)
    assert found.mv.tolist() == pytest.approx([0.0, 0.6])
    assert (found.rate_hz, found.resolution_mv) == (125.0, 0.001)


def test_a_negative_factor_turns_the_lead_over():
    found = read("1 2", factor=-5)
    assert found.mv.tolist() == pytest.approx([-0.005, -0.010])
    assert found.resolution_mv == pytest.approx(0.005)


def test_decimals_have_no_resolution():
    assert read("1.5 2", factor=None).resolution_mv is None


@pytest.mark.parametrize("text", ["1  2", " 1 2\n", "1\t2", "1\r\n   2"])
def test_blanks_of_printers_do_not_matter(text):
    assert read(text, factor=1).mv.tolist() == pytest.approx([0.001, 0.002])


@pytest.mark.parametrize(
    ("timing", "rate_hz"),
    [
        ({"period": 1.953125}, 512),
        ({"period": None, "interval": 2, "intervalUnit": "ms"}, 500),
        ({"period": None, "interval": 0.004, "intervalUnit": "s"}, 250),
        ({"period": None, "interval": 1000, "intervalUnit": "us"}, 1000),
        ({"period": 2, "interval": 2000, "intervalUnit": "us"}, 500),
        ({"period": None, "offsets": "0 2", "intervalUnit": "ms"}, 500),
    ],
)
def test_rates(timing, rate_hz):
    assert read(**timing).rate_hz == rate_hz


def test_offsets_leave_gaps_where_samples_are_missing():
    found = read("1 2 3", factor=1, period=None, offsets="0 4 12", intervalUnit="ms")
    assert found.rate_hz == 250
    assert found.mv[[0, 1, 3]].tolist() == pytest.approx([0.001, 0.002, 0.003])
    assert math.isnan(found.mv[2])


def test_error_and_limits():
    mv = read("E 1 L U E", factor=1, lowerLimit=-5, upperLimit=5).mv
    assert np.isnan(mv).tolist() == [True, False, False, False, True]
    assert mv[1:4].tolist() == pytest.approx([0.001, -0.005, 0.005])
    assert np.isnan(read("L 1 U").mv).tolist() == [True, False, True]  # which limits is not told


def test_limits_in_counts_are_understood_where_only_they_fit():
    # 3000 counts are 3.0 mV; as microvolts the limits would be below what was measured.
    mv = read("2500 U L", origin=quantity("mV"), factor=0.001, lowerLimit=0, upperLimit=3000).mv
    assert mv.tolist() == pytest.approx([2.5, math.nan, 0.0], nan_ok=True)  # 3000 mV is no ECG
    mv = read("0.004 U", origin=quantity("V"), factor=0.5, lowerLimit=-1, upperLimit=0.005).mv
    assert mv.tolist() == pytest.approx([2.0, 5.0])


def test_sentinels_are_no_values():
    mv = read("1 32767", factor=5).mv
    assert (mv[0], math.isnan(mv[1])) == (pytest.approx(0.005), True)


EXAMPLE = {"origin": {"value": 2048}, "factor": 1.612, "period": 10}


class TestLegacy:
    """The reading that the specification's EKG example asks for."""

    def test_counts_around_half_the_converters_range(self):
        found = read("2041 2043 2048", lowerLimit=-3300, upperLimit=3300, **EXAMPLE)
        expected = [-7 * 0.001612, -5 * 0.001612, 0.0]
        assert found.mv.tolist() == pytest.approx(expected)
        assert (found.rate_hz, found.resolution_mv) == (100, pytest.approx(0.001612))

    @pytest.mark.parametrize(
        ("data", "changes"),
        [
            ("2041 2043", {"factor": None}),
            ("2041 2043", {"origin": {"value": 0}}),
            ("2041 2043", {"origin": {"value": 2000}}),  # half of no converter's range
            ("2041 -5", {}),  # no count
            ("2041 4096", {}),
            ("2041 2043.5", {}),
            ("2041 2043", {"factor": 0.02}),  # 41 uV full scale, or 41 mV: neither is an amplifier
        ],
    )
    def test_refused_where_another_reading_is_possible(self, data, changes):
        reason, place = refused(data, **(EXAMPLE | changes))
        assert (reason, place) == ("unit-unknown", "D.origin")

    def test_an_origin_with_a_unit_is_never_read_so(self):
        found = read("0 1", origin=quantity("uV", 2048), factor=1.612)
        assert found.mv[0] == pytest.approx(2.048)


@pytest.mark.parametrize(
    ("data", "changes", "reason", "place"),
    [
        ("1 2", {"dimensions": None}, "field-missing", "D.dimensions"),
        ("1 2", {"dimensions": 2}, "waveform-unsupported", "D.dimensions"),
        ("1 2", {"codeMap": "http://example.org/map"}, "waveform-unsupported", "D.codeMap"),
        ("1 2", {"origin": None}, "field-missing", "D.origin"),
        ("1 2", {"origin": {"code": "mV"}}, "field-missing", "D.origin.value"),
        ("1 2", {"origin": quantity("mm[Hg]")}, "unit-unknown", "D.origin.code"),
        ("1 2", {"origin": quantity("MV")}, "unit-unknown", "D.origin.code"),  # megavolts
        ("1 2", {"origin": quantity("mV", unit="uV")}, "unit-unknown", "D.origin.unit"),
        ("1 2", {"origin": quantity("mV", "0")}, "field-malformed", "D.origin.value"),
        ("1 2", {"period": None}, "rate-missing", "D.period"),
        ("1 2", {"period": 0}, "rate-out-of-range", "D.period"),
        ("1 2", {"period": -2}, "rate-out-of-range", "D.period"),
        ("1 2", {"period": "2"}, "field-malformed", "D.period"),
        ("1 2", {"interval": 2}, "unit-unknown", "D.intervalUnit"),
        ("1 2", {"interval": 4, "intervalUnit": "ms"}, "rate-conflict", "D.interval"),
        ("1 2", {"offsets": "0 2", "intervalUnit": "ms"}, "rate-conflict", "D.offsets"),
        ("1 2", {"period": None, "offsets": "0 2 4", "intervalUnit": "ms"}, "lengths-differ",
         "D.offsets"),
        ("1 2", {"period": None, "offsets": "0 x", "intervalUnit": "ms"}, "samples-malformed",
         "D.offsets"),
        ("1 2", {"period": None, "offsets": "2 0", "intervalUnit": "ms"}, "waveform-unsupported",
         "D.offsets"),
        ("1 2 3", {"period": None, "offsets": "0 1 900", "intervalUnit": "ms"},
         "waveform-unsupported", "D.offsets"),
        ("1 2", {"factor": 0}, "resolution-out-of-range", "D.factor"),
        ("", {}, "samples-missing", "D.data"),
        ("E E", {}, "samples-missing", "D.data"),
        ("1 two", {}, "samples-malformed", "D.data"),
        ("1 NaN", {}, "samples-malformed", "D.data"),
        ("1 EE", {}, "samples-malformed", "D.data"),
        ("1 -", {}, "samples-malformed", "D.data"),
        ("1 \u0663", {}, "samples-malformed", "D.data"),
        ("1 9999999", {}, "amplitude-implausible", "D.data"),
        ("1 900", {"lowerLimit": -5, "upperLimit": 5}, "samples-out-of-range", "D.data"),
    ],
)  # fmt: skip
def test_refusals_point_at_the_fault(data, changes, reason, place):
    assert refused(data, **changes) == (reason, place)


def test_what_is_a_voltage():
    assert is_voltage(Element(sampled("1"), "D"))
    assert is_voltage(Element(sampled("1", origin={"value": 2048}), "D"))
    assert not is_voltage(Element(sampled("1", origin=quantity("mm[Hg]")), "D"))


COUNT = st.integers(-3000, 3000)


@given(
    st.lists(COUNT, min_size=1, max_size=50),
    st.sampled_from([0.5, 1.0, 2.44, 5.0]),
    st.integers(-3000, 3000),
)
def test_every_count_comes_back(counts, factor, origin):
    found = read(counts, factor=factor, origin=quantity("uV", origin))
    expected = (np.array(counts) * factor + origin) / 1000
    assert np.allclose(found.mv, expected, atol=1e-9)


@given(st.lists(st.one_of(COUNT, st.sampled_from("EUL")), min_size=1, max_size=30))
def test_letters_stand_where_they_stood(values):
    text = " ".join(map(str, values))
    if all(isinstance(v, str) for v in values):
        assert refused(text)[0] == "samples-missing"
        return
    mv = read(text, factor=1).mv
    assert [math.isnan(v) for v in mv] == [isinstance(v, str) for v in values]


@given(st.text(alphabet="0123456789-+.eEUL \n", max_size=20))
def test_any_text_is_read_or_refused(text):
    try:
        told = np.isfinite(read(text).mv).any()
    except Refused as refusal:
        told = refusal.expression.startswith("D.")
    assert told
