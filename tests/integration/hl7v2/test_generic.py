from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from integration.errors import Refused
from integration.hl7v2.decode import decode
from tests.hl7_messages import generic

CD_REST = "0.005&mV^^500^-2048&2047"
PLUS_ONE = timezone(timedelta(hours=1))


def group(*rows, cd=f"1&I^I^{CD_REST}~2&II^II", kind="NA", number=1, start=None):
    """OBX bodies of one waveform group."""
    identifier = f"5&{{}}^^99CART|{number}"
    bodies = [f"CD|{identifier.format('CHN')}|{cd}||||||F"]
    if start is not None:
        bodies.append(f"TS|{identifier.format('TIM')}|{start}||||||F")
    return bodies + [f"{kind}|{identifier.format('WAV')}|{row}||||||F" for row in rows]


def one(*bodies, **options):
    exams = decode(generic(*bodies, **options)).exams
    assert len(exams) == 1
    return exams[0]


def counts(exam, step=0.005):
    return np.rint(exam.ecg.voltage_mv / step).tolist()


def test_channel_by_channel():
    exam = one(*group("0^1^2~0^-1^-2", start="20260102100000.5"))
    assert exam.ecg.leads == ("I", "II")
    assert exam.ecg.sampling_rate_hz == 500.0
    assert exam.ecg.resolution_mv == (0.005, 0.005)
    np.testing.assert_allclose(exam.ecg.voltage_mv, [[0, 0.005, 0.01], [0, -0.005, -0.01]])
    assert exam.ecg.start == datetime(2026, 1, 2, 10, 0, 0, 500_000, tzinfo=PLUS_ONE)


def test_time_by_time():
    assert counts(one(*group("0^0~1^-1~2^-2", kind="MA"))) == [[0, 1, 2], [0, -1, -2]]


def test_segments_go_on_from_each_other():
    assert counts(one(*group("0^1^~5^6^", "2^3~7^8"))) == [[0, 1, 2, 3], [5, 6, 7, 8]]


def test_without_a_time_of_its_own_a_group_starts_with_its_order():
    exam = one(*group("0~1"))
    assert exam.acquired == datetime(2026, 1, 2, 3, 4, tzinfo=PLUS_ONE)


def test_groups_of_one_channel_each_make_one_ecg():
    exam = one(
        *group("0^1^", cd=f"1^D1^{CD_REST}", number=1, start="20260102100000"),
        *group("2^3^", cd=f"2^D2^{CD_REST}", number=2, start="20260102100000"),
    )
    assert exam.ecg.leads == ("I", "II")
    assert counts(exam) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("order", [0, 1])
def test_time_and_channels_come_in_any_order(order):
    channel, time, wave = group("0~1", start="20260102100000+0000")
    exam = one(*([time, channel] if order else [channel, time]), wave)
    assert exam.ecg.start == datetime(2026, 1, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "bodies",
    [
        [
            f"CE|CHN^Channels^99ECG|1|1&I^I^{CD_REST}",
            "DTM|TIM^Time Channel^99ECG|1|20260102",
            "NA|WAV^Wave^99ECG|1|0^1",
        ],
        [f"CD|5&chn|1|^I^{CD_REST}", "TS|5&tim|1|20260102", "NA|5&wav|1|0^1"],
        [f"CD|5&CHN|1|I^^{CD_REST}", "TS|5&TIM|1|20260102", "NA|5&WAV|1|0^1~"],
    ],
)
def test_other_ways_to_mark_the_segments(bodies):
    exam = one(*bodies)
    assert (exam.ecg.leads, counts(exam)) == (("I",), [[0, 1]])
    assert exam.acquired == date(2026, 1, 2)


def test_annotations_are_passed_over():
    wave = group("0^1~2^3")
    exam = one(*wave, "CE|5&ANO^^99CART|1|9903^beat^HL70317||||||F")
    assert counts(exam) == [[0, 1], [2, 3]]


def test_a_new_time_starts_a_new_ecg_and_nothing_is_joined_across_the_gap():
    first = group("0^1~2^3", start="20260102100000")
    second = group("4~5", start="20260102100003")[1:]
    exams = decode(generic(*first, *second)).exams
    assert [counts(e) for e in exams] == [[[0, 1], [2, 3]], [[4], [5]]]
    assert [e.acquired.second for e in exams] == [0, 3]


@pytest.mark.parametrize(
    ("rest", "sample", "mv"),
    [
        ("0.005&mV^^500^-2048&2047", 100, 0.5),
        ("5&uV^^500^-2048&2047", 100, 0.5),
        ("0.000005&V^1^500^-2048&2047", 100, 0.5),
        ("0.005&266418&MDC_DIM_MILLI_VOLT&MDC^^500", 100, 0.5),
        ("0.005&mv^1.02^500^-2048&2047", 100, 0.51),
        ("0.005&mV^1&20^500^-2048&2047", 100, 0.4),
        ("0.005&mV^&0&0^500^0&4095", 100, 0.5),
        ("-0.005&mV^^500^-2048&2047", 100, -0.5),
        ("0.005&mV^^500^0&4095", 2148, 0.5),  # unsigned 12 bits: zero is 2048
        ("0.005&mV^^500^0&255", 228, 0.5),
        ("0.005&mV^^500^0&0", 100, 0.5),
        ("0.005&mV^&&0.0005^500", 100, 0.5),  # one channel after the other, inside a sample
        ("0.005&mV^^500", 100.5, 0.5025),
    ],
)
def test_amplitude_is_sensitivity_times_correction_times_distance_from_the_baseline(
    rest, sample, mv
):
    exam = one(*group(str(sample), cd=f"1&I^I^{rest}"))
    assert exam.ecg.voltage_mv[0, 0] == pytest.approx(mv)


def test_what_a_channel_does_not_say_it_takes_from_the_one_before():
    cd = "1&I^I^0.005&mV^1&10^500^-2048&2047~2&II^II~3&III^III^0.01&mV^1&0~4&V1^V1"
    exam = one(*group("10~11~12~13", cd=cd))
    np.testing.assert_allclose(exam.ecg.voltage_mv[:, 0], [0, 0.005, 0.12, 0.13])
    assert exam.ecg.resolution_mv == (0.005, 0.005, 0.01, 0.01)


def test_a_sentinel_outside_the_range_is_a_missing_value():
    exam = one(*group("0^32767^1", cd="1&I^I^0.0005&mV^^500^-2048&2047"))
    np.testing.assert_array_equal(np.isnan(exam.ecg.voltage_mv), [[False, True, False]])


def single(chn, wav="5&WAV", cd="1^^0.005&mV^^500"):
    return [f"CD|{chn}|1|{cd}", f"NA|{wav}|1|0^1"]


@pytest.mark.parametrize(
    "chn",
    [
        "131329&CHN^MDC_ECG_ELEC_POTL_I^MDC",
        "131329&CHN^Channel Definition^MDC",
        "5&CHN^Lead I^99X",
        "CHN^Lead I^99X",
        "I&CHN",
    ],
)
def test_the_lead_may_stand_in_the_identifier(chn):
    assert one(*single(chn)).ecg.leads == ("I",)
    assert one(*single(chn, wav=chn.replace("CHN", "WAV"))).ecg.leads == ("I",)


@pytest.mark.parametrize(
    "bodies",
    [
        single("131330&CHN", cd="1&I^I^0.005&mV^^500"),
        single("131329&CHN^Lead II"),
        single("I&CHN", wav="II&WAV"),
        single("5&CHN", wav="131330&WAV^MDC_ECG_ELEC_POTL_II", cd="1&I^I^0.005&mV^^500"),
    ],
)
def test_a_lead_that_the_identifier_contradicts(bodies):
    with pytest.raises(Refused, match="lead-mismatch"):
        decode(generic(*bodies))


def test_an_identifier_names_no_channel_among_several():
    exam = one(*group("0^1~2^3", cd=f"1&I^I^{CD_REST}~2&II^II")[:1], *group("0^1~2^3")[1:])
    assert exam.ecg.leads == ("I", "II")
    with pytest.raises(Refused, match="lead-unknown"):
        decode(generic("CD|I&CHN|1|1^^0.005&mV^^500~2", "NA|5&WAV|1|0~1"))


def test_channels_that_are_no_lead_are_passed_over():
    cd = f"1&I^I^{CD_REST}~2&RESP^^1&Ohm^^62.5^&~3&II^II^0.005&mV^^500"
    decoded = decode(generic(*group("0^1~9^9~2^3", cd=cd)))
    (exam,) = decoded.exams
    assert exam.ecg.leads == ("I", "II")
    assert counts(exam) == [[0, 1], [2, 3]]
    assert [note.reason for note in decoded.notes] == ["lead-unknown"]


@pytest.mark.parametrize(
    ("cd", "reason"),
    [
        ("1&ONE^ONE^0.5&mv^^200^-2048&2047", "lead-unknown"),
        ("1&MLII^II^0.005&mV^^500", "lead-unknown"),
        ("1^^0.005&mV^^500", "lead-unknown"),
        ("150452&MDC_PULS_OXIM_PLETH^^0.005&mV^^500", "lead-unknown"),
        ("131137&MDC_ECG_LEAD_aVR^^0.005&mV^^500", "lead-unknown"),
        ("1&I^II^0.005&mV^^500", "lead-mismatch"),
        ("131330&I^^0.005&mV^^500", "lead-mismatch"),
        ("1&I^I^0.005&mV", "rate-missing"),
        ("1&I^I^0.005&mV^^fast", "field-malformed"),
        ("1&I^I^0.005&mV^^10", "rate-out-of-range"),
        ("1&I^I^0.005&mV^^-500", "rate-out-of-range"),
        ("1&I^I^^^500", "resolution-missing"),
        ("1&I^I^&mV^^500", "resolution-missing"),
        ("1&I^I^x&mV^^500", "resolution-malformed"),
        ("1&I^I^0&mV^^500", "resolution-out-of-range"),
        ("1&I^I^0.005^^500", "unit-unknown"),
        ("1&I^I^0.005&mmHg^^500", "unit-unknown"),
        ("1&I^I^0.005&mV^x^500", "resolution-malformed"),
        ("1&I^I^1e308&mV^1e308^500", "resolution-out-of-range"),
        ("1&I^I^0.005&mV^&1e308^500", "resolution-out-of-range"),
        ("1&I^I^0.005&mV^&-30000^500", "amplitude-implausible"),
        ("1&I^I^0.005&mV^&x^500", "field-malformed"),
        ("1&I^I^0.005&mV^^500^7&-7", "field-malformed"),
        ("1&I^I^0.005&mV^^500^0&1000", "resolution-missing"),
        ("1&I^I^0.005&mV^^500^0&4095.5", "resolution-missing"),
        ("1&I^I^0.005&mV^&&0.1^500", "waveform-unsupported"),
        ("~".join(["1&I^I^0.005&mV^^500"] * 65), "leads-malformed"),
        ("1&I^I^0.005&mV^^500~1&I^I", "leads-malformed"),
    ],
)
def test_channels_that_are_refused(cd, reason):
    with pytest.raises(Refused, match=reason):
        decode(generic(*group("0", cd=cd)))


def test_a_lead_that_comes_twice():
    with pytest.raises(Refused, match="lead-duplicate"):
        decode(generic(*group("0~1", cd=f"1&I^I^{CD_REST}~2&I^I")))


@pytest.mark.parametrize(
    ("bodies", "reason", "location"),
    [
        (group("0^1~2"), "lengths-differ", ("OBX", 2, 5)),
        (group("0^1"), "leads-malformed", ("OBX", 2, 5)),
        (group("0^1~2^three"), "samples-malformed", ("OBX", 2, 5)),
        (group("~"), "leads-malformed", ("OBX", 2, 5)),
        (group("^~^"), "samples-missing", ("OBX", 2, 5)),
        (group(), "samples-missing", ("OBR", 1, 7)),
        (group("0^1~2^3", kind="ED"), "waveform-unsupported", ("OBX", 2, 2)),
        (group("0^1~2^3")[1:], "leads-malformed", ("OBX", 1, 3)),
        (group("0^1~2^3")[::-1], "leads-malformed", ("OBX", 1, 3)),
        (group("0~1", start="soon"), "time-malformed", ("OBX", 2, 5)),
        ([b.replace("|F", "|X") for b in group("0~1")], "waveform-unsupported", ("OBX", 2, 11)),
        (group("4000~1"), "samples-out-of-range", ("OBX", 2, 5)),
        (group("0^5000", cd="1&I^I^0.005&mV^^500"), "amplitude-implausible", ("OBX", 2, 5)),
    ],
)
def test_waveforms_that_are_refused(bodies, reason, location):
    with pytest.raises(Refused, match=reason) as caught:
        decode(generic(*bodies))
    assert caught.value.location == location


def test_two_channel_lengths_over_groups_are_refused():
    bodies = group("0^1", cd=f"1&I^I^{CD_REST}", number=1) + group(
        "2", cd=f"1&II^II^{CD_REST}", number=2
    )
    with pytest.raises(Refused, match="lengths-differ"):
        decode(generic(*bodies))


@pytest.mark.parametrize(
    "cd",
    [f"1&KANAL A^^{CD_REST}~2&KANAL B^^", f"1^KANAL A^{CD_REST}~2^KANAL B^"],
)
def test_a_sender_may_have_its_own_words_for_channels(cd):
    dialect = {"KANAL A": "I", "KANAL B": "V1"}
    (exam,) = decode(generic(*group("0^1~2^3", cd=cd)), dialect=dialect).exams
    assert exam.ecg.leads == ("I", "V1")
