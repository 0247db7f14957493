import pytest

from integration.errors import Refused
from integration.hl7v2.units import decimal, hz_per, is_voltage, mv_per, mv_per_step, s_per

PLACE = ("OBX", 1, 6)


@pytest.mark.parametrize(
    ("unit", "mv"),
    [
        ("mV", 1.0),
        ("mv", 1.0),
        ("266418^MDC_DIM_MILLI_VOLT^MDC", 1.0),
        ("^MDC_DIM_MILLI_VOLT", 1.0),
        ("uV^microvolt^UCUM", 0.001),
        ("\u00b5V", 0.001),
        ("\u03bcV", 0.001),
        ("266419^MDC_DIM_MICRO_VOLT^MDC", 0.001),
        ("nV", 1e-6),
        ("V", 1000.0),
        ("266400", 1000.0),
    ],
)
def test_voltages(unit, mv):
    assert mv_per(unit.split("^"), PLACE) == mv
    assert is_voltage(unit.split("^"))


@pytest.mark.parametrize(
    "unit",
    [
        "",
        "MV",
        "mmHg",
        "262688^MDC_DIM_PERCENT^MDC",
        "266418^MDC_DIM_MICRO_VOLT^MDC",
        "mV^adu",
        "1",
    ],
)
def test_what_is_no_certain_voltage(unit):
    with pytest.raises(Refused, match="unit-unknown") as caught:
        mv_per(unit.split("^"), PLACE)
    assert caught.value.location == PLACE


def test_a_refused_unit_is_named_but_not_at_length():
    with pytest.raises(Refused) as caught:
        mv_per(["x" * 500], PLACE)
    assert "x" * 20 in caught.value.detail
    assert len(caught.value.detail) < 80


@pytest.mark.parametrize(
    ("unit", "mixed"), [("mV^adu", False), ("", False), ("mV^mV", True), ("mV^uV", True)]
)
def test_voltage_is_told_even_where_the_parts_disagree(unit, mixed):
    assert is_voltage(unit.split("^")) is mixed


def test_rates_and_periods():
    assert hz_per(["264608", "MDC_DIM_PER_SEC"], PLACE) == hz_per(["Hz"], PLACE) == 1.0
    assert s_per(["264338", "MDC_DIM_MILLI_SEC"], PLACE) == s_per(["ms"], PLACE) == 1e-3
    for wrong in (["kHz"], ["ms"], [""]):
        with pytest.raises(Refused, match="unit-unknown"):
            hz_per(wrong, PLACE)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-0.005", -0.005), ("+.5", 0.5), ("5.", 5.0), ("4.88e-3", 0.00488)],
)
def test_numbers(text, value):
    assert decimal(text, "field-malformed", PLACE) == value


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "0,005", "1 2", "0x10", "1_000", "1e999", "--1", "\u0665", "9" * 65]
)
def test_what_is_no_number(text):
    with pytest.raises(Refused, match="resolution-malformed"):
        decimal(text, "resolution-malformed", PLACE)


@pytest.mark.parametrize(
    ("unit", "mv"),
    [("uV/LSB", 0.001), ("mV / bit", 1.0), ("uV per count", 0.001), ("uV^uV/bit", 0.001)],
)
def test_a_sensitivity_is_per_step_whether_it_says_so_or_not(unit, mv):
    assert mv_per_step(unit.split("^"), PLACE) == mv
    with pytest.raises(Refused, match="unit-unknown"):
        mv_per(unit.split("^"), PLACE)


@pytest.mark.parametrize("unit", ["uV/mm", "uV/s", "/LSB", "LSB/uV"])
def test_a_sensitivity_per_something_else(unit):
    with pytest.raises(Refused, match="unit-unknown"):
        mv_per_step([unit], PLACE)
