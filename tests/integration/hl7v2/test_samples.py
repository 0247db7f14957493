import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.errors import Refused
from integration.hl7v2.samples import (
    Samples,
    parse_multiplexed,
    parse_samples,
    without_sentinels,
)

PLACE = ("OBX", 1, 5)
NAN = np.nan


def read(text, separator="^"):
    return parse_samples(text.encode(), separator.encode(), PLACE)


@pytest.mark.parametrize(
    ("text", "values", "decimal_point", "integral"),
    [
        ("1^-2^3", [1, -2, 3], False, True),
        ("7", [7], False, True),
        ("0^1^", [0, 1], False, True),
        (" 1^2 ", [1, 2], False, True),
        ("+1^+2", [1, 2], False, True),
        ("1^^3", [1, NAN, 3], False, True),
        ("1^^^3", [1, NAN, NAN, 3], False, True),
        ("^2", [NAN, 2], False, True),
        ("1^^", [1, NAN], False, True),
        ("0.5^-.25^1.^1e-3", [0.5, -0.25, 1, 0.001], True, False),
        ("1.0^2.0", [1, 2], True, True),
        ("1.5^^2", [1.5, NAN, 2], True, False),
        ("2147483648^-2147483648", [2**31, -(2**31)], False, True),
    ],
)
def test_rows(text, values, decimal_point, integral):
    samples = read(text)
    np.testing.assert_array_equal(samples.values, np.array(values, dtype=float))
    assert samples.decimal_point is decimal_point
    assert samples.integral is integral


@pytest.mark.parametrize("separator", ["^", "!", ":", "$"])
def test_any_separator(separator):
    np.testing.assert_array_equal(read(separator.join("123"), separator).values, [1, 2, 3])


def test_the_usual_separator_is_text_where_another_is_in_force():
    with pytest.raises(Refused, match="samples-malformed"):
        read("1^2!3", "!")


@pytest.mark.parametrize(
    "text",
    ["1^two^3", "1^-^2", "1^-", "-", "1-2", "--1", "1^+^2", "0x1F", "nan^1", "inf", "1e400",
     "1.2.3", "e", ".", "1 2^3", "1^ 2", "1,5^2", "2147483649", "-2147483649", "9" * 20,
     "1~2", "1^\\S\\^2", "1\x00", "^-^", "1^^-"],
)  # fmt: skip
def test_what_is_no_number_is_refused_with_its_place(text):
    with pytest.raises(Refused, match="samples-malformed") as caught:
        read(text)
    assert caught.value.location == PLACE


@pytest.mark.parametrize("text", ["", "^", "^^^", " "])
def test_no_samples(text):
    with pytest.raises(Refused, match="samples-missing"):
        read(text)


@given(st.lists(st.integers(-(2**31), 2**31), min_size=1))
def test_whole_numbers_come_through_exactly(numbers):
    np.testing.assert_array_equal(read("^".join(map(str, numbers))).values, numbers)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_fractions_come_through_exactly(numbers):
    np.testing.assert_array_equal(read("^".join(map(repr, numbers))).values, numbers)


@given(st.text(alphabet="0123456789-+.e^ x", max_size=12))
def test_never_a_number_that_python_would_not_read(text):
    try:
        values = read(text).values
    except Refused:
        return
    expected = [float(t) if t else NAN for t in text.strip().removesuffix("^").split("^")]
    np.testing.assert_array_equal(values, expected)


def multiplexed(text, channels):
    rows = parse_multiplexed(text.encode(), b"^", b"~", channels, PLACE)
    return [row.values.tolist() for row in rows]


def test_time_by_time_becomes_channel_by_channel():
    assert multiplexed("0^0^2~1^-1^4~2^-2^6", 3) == [[0, 1, 2], [0, -1, -2], [2, 4, 6]]
    assert multiplexed("0~1~2", 1) == [[0, 1, 2]]
    assert multiplexed("0^1~2^3~", 2) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("text", "channels"), [("1^2~3", 2), ("1^2^3~4^5^6", 2), ("1~2~3~4", 2), ("1^2~3~4^5^6", 2)]
)
def test_times_of_unequal_width(text, channels):
    with pytest.raises(Refused, match="leads-malformed"):
        multiplexed(text, channels)


@pytest.mark.parametrize(("text", "reason"), [("", "missing"), ("1^x~2^3", "malformed")])
def test_multiplexed_text(text, reason):
    with pytest.raises(Refused, match=f"samples-{reason}"):
        multiplexed(text, 1 if not text else 2)


@pytest.mark.parametrize(
    ("counts", "step", "declared", "expected"),
    [
        ([1, 32767], 0.005, None, [0.005, NAN]),  # 164 mV: no ECG
        ([1, 32767], 0.0005, None, [0.0005, 16.3835]),  # may be a sample
        ([1, -999], 0.005, None, [0.005, -4.995]),
        ([1, -999], 1.0, None, [1.0, NAN]),
        ([1, -1], 0.005, None, [0.005, -0.005]),
        ([1, -1], 0.005, (0, 4095), [0.005, NAN]),
        ([1, -999], 0.005, (-512, 511), [0.005, NAN]),
        ([1, -999], 0.005, (-2048, 2047), [0.005, -4.995]),
        ([1, 32767, NAN], 0.0005, (-2048, 2047), [0.0005, NAN, NAN]),
    ],
)
def test_only_what_cannot_be_a_sample_is_missing(counts, step, declared, expected):
    samples = np.array(counts, dtype=float)
    mv = without_sentinels(samples, samples * step, declared, PLACE)
    np.testing.assert_allclose(mv, expected)


def test_a_number_outside_the_declared_range_is_no_sample_and_no_sentinel():
    samples = np.array([1.0, 3000.0])
    with pytest.raises(Refused, match="samples-out-of-range"):
        without_sentinels(samples, samples * 0.005, (-2048, 2047), PLACE)


def test_what_no_ecg_reaches_is_told_and_not_hidden():
    samples = np.array([1.0, 5000.0])
    with pytest.raises(Refused, match="amplitude-implausible"):
        without_sentinels(samples, samples * 0.005, None, PLACE)


def test_a_range_rounded_by_its_sender_is_no_fault():
    samples = np.array([1.04980469, 1.42968751])
    np.testing.assert_array_equal(
        without_sentinels(samples, samples, (0.39013672, 1.4296875), PLACE), samples
    )


def test_samples_of_nothing_but_gaps_are_whole():
    assert Samples(np.array([NAN, 1.0]), decimal_point=True).integral
