import numpy as np
import pytest

from integration.errors import Refused
from integration.hl7v2.decode import Kind, decode
from tests.hl7_messages import OBR, RATE, RESOLUTION, twelve, wcm, wcm_lead

MV = "266418^MDC_DIM_MILLI_VOLT^MDC"
PERIOD = "NM|67981^MDC_ATTR_TIME_PD_SAMP^MDC|{path}.1|4|264338^MDC_DIM_MILLI_SEC^MDC"
SINGLE_RESOLUTION = "NM|67917^MDC_ATTR_NU_MSMT_RES^MDC|{path}.2|1|" + MV


def one(*bodies, **options):
    exams = decode(wcm(*bodies, **options)).exams
    assert len(exams) == 1
    return exams[0]


def lead(samples="0^1^-2", name="I", **options):
    return wcm_lead(name, samples, **options)


def refused(*bodies, **options):
    with pytest.raises(Refused) as caught:
        decode(wcm(*bodies, **options))
    return caught.value.reason, caught.value.location


def test_twelve_leads():
    ecg = one(*twelve("0^100^-200")).ecg
    assert ecg.leads == (
        *("I", "II", "III", "aVR", "aVL", "aVF"),
        *("V1", "V2", "V3", "V4", "V5", "V6"),
    )
    assert ecg.sampling_rate_hz == 500.0
    assert ecg.resolution_mv == (0.005,) * 12
    np.testing.assert_allclose(ecg.voltage_mv, [[0, 0.5, -1.0]] * 12)


def test_one_lead_is_an_ecg_too():
    assert one(*lead()).ecg.leads == ("I",)


@pytest.mark.parametrize(
    ("attribute", "rate"),
    [
        (RATE, 500.0),
        (PERIOD, 250.0),
        ("NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|150.0|264608^MDC_DIM_PER_SEC", 150.0),
        ("NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|500", 500.0),
        ("NM|MDC_ATTR_SAMP_RATE^^99X|{path}.9.9|250|Hz", 250.0),
        ("NM|67981^^MDC|{path}.1|2000|us", 500.0),
        ("SN|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|^500|Hz", 500.0),
        ("SN|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|=^500|Hz", 500.0),
    ],
)
def test_rates_and_periods(attribute, rate):
    assert one(*lead(attributes=(attribute, RESOLUTION))).ecg.sampling_rate_hz == rate


def test_a_rate_and_a_period_that_agree():
    rate = "NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.3|250|Hz"
    assert one(*lead(attributes=(rate, PERIOD, RESOLUTION))).ecg.sampling_rate_hz == 250.0


@pytest.mark.parametrize(
    ("samples", "unit", "attributes", "expected"),
    [
        ("10^-4", "", (RESOLUTION,), [0.05, -0.02]),
        ("10^-4", "", ("NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|{path}.2|5|266419",), [0.05, -0.02]),
        ("10^-4", MV, ("NM|2327^^MDC|{path}.2|0.005|262656^MDC_DIM_DIMLESS^MDC",), [0.05, -0.02]),
        ("10^-4", "uV", ("NM|2327^^MDC|{path}.2|5|",), [0.05, -0.02]),
        ("10.0^-4.0", "", (RESOLUTION,), [0.05, -0.02]),
        # in millivolts already: nothing is scaled again
        ("-0.537^1.25", MV, (), [-0.537, 1.25]),
        ("-537.5^1250", "uV", (), [-0.5375, 1.25]),
        ("-0.537^1.25", MV, (SINGLE_RESOLUTION,), [-0.537, 1.25]),
        ("0^0", MV, (), [0, 0]),
        ("10^^-4", "", (RESOLUTION,), [0.05, np.nan, -0.02]),
        ("10^32767^-999", "", (RESOLUTION,), [0.05, np.nan, -4.995]),
        ("0.5^-999.0^-99.9", MV, (), [0.5, np.nan, np.nan]),
        (
            "10^-1^-4",
            "",
            (RESOLUTION, "NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|-512^511|262656"),
            [0.05, -0.005, -0.02],
        ),
        (
            "10^-999^-4",
            "",
            (RESOLUTION, "NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|-512^511"),
            [0.05, np.nan, -0.02],
        ),
        (
            "10^-999^-4",
            "",
            (RESOLUTION, f"NR|0^MDC_ATTR_DATA_RANGE^MDC|{{path}}.3|-4.0^4.0|{MV}"),
            [0.05, np.nan, -0.02],
        ),
        ("10^-4", "", (RESOLUTION, "NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|^"), [0.05, -0.02]),
    ],
)
def test_millivolts(samples, unit, attributes, expected):
    ecg = one(*lead(samples, unit=unit, attributes=(RATE, *attributes))).ecg
    np.testing.assert_allclose(ecg.voltage_mv[0], expected, rtol=1e-6)


def test_samples_in_millivolts_have_no_resolution():
    assert one(*lead("0.5^1", unit=MV, attributes=(RATE,))).ecg.resolution_mv is None


@pytest.mark.parametrize(
    ("options", "reason", "field"),
    [
        ({"attributes": (RESOLUTION,)}, "rate-missing", 3),
        ({"attributes": ()}, "rate-missing", 3),
        ({"attributes": (RATE,), "unit": MV}, "resolution-missing", 5),
        ({"attributes": (RATE,), "unit": "uV"}, "resolution-missing", 5),
        ({"samples": "+3^-5", "attributes": (RATE,), "unit": "uV"}, "resolution-missing", 5),
        ({"samples": "0.5^1", "attributes": (RATE,)}, "unit-unknown", 6),
        ({"samples": "0.5^1", "attributes": (RATE,), "unit": "mmHg"}, "unit-unknown", 6),
        ({"samples": "0.5^1", "unit": MV}, "resolution-conflict", 5),
        ({"samples": "0.5^1"}, "resolution-conflict", 5),
        ({"samples": "1^high^2"}, "samples-malformed", 5),
        ({"samples": "1^1e400"}, "samples-malformed", 5),
        ({"samples": ""}, "samples-missing", 5),
        ({"samples": "1^2~3^4"}, "waveform-unsupported", 5),
        ({"samples": "1^4001"}, "amplitude-implausible", 5),
    ],
)
def test_leads_that_are_refused_with_their_place(options, reason, field):
    assert refused(*lead(**options)) == (reason, ("OBX", 1, field))


@pytest.mark.parametrize(
    ("attribute", "reason", "field"),
    [
        ("NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.3|fast|Hz", "field-malformed", 5),
        ("SN|0^MDC_ATTR_SAMP_RATE^MDC|{path}.3|>^500|Hz", "field-malformed", 5),
        ("NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.3|500|MDC_DIM_PER_MIN", "unit-unknown", 6),
        ("NM|67981^MDC_ATTR_TIME_PD_SAMP^MDC|{path}.3|2", "unit-unknown", 6),
        ("NM|67981^MDC_ATTR_TIME_PD_SAMP^MDC|{path}.3|0|ms", "rate-out-of-range", 5),
        ("NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|{path}.3|small|" + MV, "resolution-malformed", 5),
        ("NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|low^high", "field-malformed", 5),
        ("NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|5^-5", "field-malformed", 5),
    ],
)
def test_attributes_that_are_refused_with_their_place(attribute, reason, field):
    bodies = lead(attributes=(RATE, RESOLUTION, attribute))
    assert refused(*bodies) == (reason, ("OBX", 4, field))


@pytest.mark.parametrize(
    ("attribute", "reason"),
    [
        ("NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.3|250|Hz", "rate-conflict"),
        ("NM|67981^MDC_ATTR_TIME_PD_SAMP^MDC|{path}.3|4|ms", "rate-conflict"),
        ("NM|67917^MDC_ATTR_NU_MSMT_RES^MDC|{path}.3|0.01|" + MV, "resolution-conflict"),
        ("NR|0^MDC_ATTR_DATA_RANGE^MDC|{path}.3|5^10", "samples-out-of-range"),
    ],
)
def test_attributes_that_contradict_each_other_or_the_samples(attribute, reason):
    assert refused(*lead(attributes=(RATE, RESOLUTION, attribute)))[0] == reason


@pytest.mark.parametrize(
    ("unit", "own", "reason"),
    [("mmHg", MV, "unit-unknown"), ("", "", "unit-unknown"), ("262656", "", "unit-unknown")],
)
def test_a_resolution_needs_a_voltage(unit, own, reason):
    resolution = f"NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|{{path}}.2|0.005|{unit}"
    assert refused(*lead(unit=own, attributes=(RATE, resolution)))[0] == reason


def test_each_lead_has_its_own_attributes():
    coarse = "NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|{path}.2|0.01|" + MV
    ecg = one(
        *lead("10", path="1.7.6.131329"),
        *lead("10", "II", path="1.7.6.131330", attributes=(RATE, coarse)),
    ).ecg
    np.testing.assert_allclose(ecg.voltage_mv[:, 0], [0.05, 0.1])


def test_a_path_is_no_prefix_of_a_longer_number():
    near = "NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|1.1.1.10.2|0.01|" + MV
    assert refused(*lead(path="1.1.1.1", attributes=(RATE, near)))[0] == "resolution-missing"


@pytest.mark.parametrize("above", ["1", "1.1", "1.1.1", "1.1.1.0", "1.1.0.0", "1.0.0.0"])
def test_an_attribute_of_the_device_holds_for_its_leads(above):
    rate = f"NM|0^MDC_ATTR_SAMP_RATE^MDC|{above}|500|Hz"
    bodies = lead(attributes=(RESOLUTION,)) + lead(
        name="II", path="1.1.1.2", attributes=(RESOLUTION,)
    )
    assert one(rate, *bodies).ecg.sampling_rate_hz == 500.0


def test_a_nearer_attribute_overrules_the_devices():
    rate = "NM|0^MDC_ATTR_SAMP_RATE^MDC|1.1.0.0|250|Hz"
    assert one(rate, *lead()).ecg.sampling_rate_hz == 500.0
    assert one(*lead(), rate).ecg.sampling_rate_hz == 500.0


def test_an_attribute_of_another_device_does_not():
    rate = "NM|0^MDC_ATTR_SAMP_RATE^MDC|2.0.0.0|500|Hz"
    assert refused(rate, *lead(attributes=(RESOLUTION,)))[0] == "rate-missing"


def test_an_attribute_beside_the_only_lead_of_its_metric_is_that_leads():
    beside = "NM|0^MDC_ATTR_SAMP_RATE^MDC|1.20.1.51920.2|250|Hz"
    resolution = "NM|2327^MDC_ATTR_NU_MSMT_RES^MDC|1.20.1.51920.3|0.005|" + MV
    alone = lead(path="1.20.1.51920.1", attributes=(beside, resolution))
    assert one(*alone).ecg.sampling_rate_hz == 250.0
    two = lead(name="II", path="1.20.1.51920.9", attributes=())
    assert refused(*alone, *two)[0] == "rate-missing"


def test_an_attribute_without_a_path_is_nobodys():
    rate = "NM|0^MDC_ATTR_SAMP_RATE^MDC||500|Hz"
    assert refused(*lead(attributes=(rate, RESOLUTION)))[0] == "rate-missing"
    assert refused(*lead(path="", attributes=(rate, RESOLUTION)))[0] == "rate-missing"


def test_an_inner_waveforms_attribute_is_not_the_outer_ones():
    inner = lead(name="II", path="1.1.1.1.7", attributes=(RATE, RESOLUTION))
    assert refused(*lead(attributes=()), *inner)[0] == "rate-missing"


def test_other_waveforms_beside_the_ecg_are_passed_over():
    pleth = [
        "NA|150452^MDC_PULS_OXIM_PLETH^MDC|1.3.1.150452|32767^x|||||F",
        "NM|0^MDC_ATTR_SAMP_RATE^MDC|1.3.1.150452.1|60|Hz",
    ]
    assert one(*pleth, *lead()).ecg.leads == ("I",)
    assert decode(wcm(*pleth)).kind is Kind.OTHER


UNKNOWN = ["NA|27^^CAPSULE|1.99.1.27|1^2", "NM|0^MDC_ATTR_SAMP_RATE^MDC|1.99.1.27.1|250|Hz"]


def test_a_waveform_of_unknown_meaning_is_passed_over_beside_a_lead():
    decoded = decode(wcm(*lead(), *UNKNOWN))
    assert decoded.exams[0].ecg.leads == ("I",)
    (note,) = decoded.notes
    assert (note.reason, note.location) == ("lead-unknown", ("OBX", 4, 3))


def test_a_waveform_of_unknown_meaning_alone_is_refused():
    order = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "ECG")
    assert refused(*UNKNOWN, obr=order) == ("lead-unknown", ("OBX", 1, 3))
    for waveform_order in ("0^WAVEFORM", "100001^CONTINUOUS WAVEFORM^99MNDRY", "69121^^MDC"):
        own = order.replace("ECG", waveform_order)
        assert refused(UNKNOWN[0], obr=own)[0] == "lead-unknown"


def test_a_contradiction_is_never_passed_over():
    wrong = [body.replace("131330", "131331") for body in lead(name="II", path="1.1.1.2")]
    assert refused(*lead(), *wrong) == ("lead-mismatch", ("OBX", 4, 3))


def test_leads_beyond_the_twelve_are_passed_over():
    more = [
        body.replace("131330^MDC_ECG_ELEC_POTL_II", "131337^MDC_ECG_ELEC_POTL_V7")
        for body in lead(name="II", path="1.1.1.2")
    ]
    assert one(*lead(), *more).ecg.leads == ("I",)


INOP = "NM|196660^MDC_EVT_INOP^MDC|{path}.4|"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("-999", [0.05, np.nan, -0.005]),
        ("^-1", [0.05, -4.995, np.nan]),
        ("0", [0.05, -4.995, -0.005]),  # no device means "no value" by 0
    ],
)
def test_what_the_sender_declares_to_be_no_value(declared, expected):
    kind = "SN" if "^" in declared else "NM"
    inop = INOP.replace("NM|", f"{kind}|", 1) + declared
    ecg = one(*lead("10^-999^-1", attributes=(RATE, RESOLUTION, inop))).ecg
    np.testing.assert_allclose(ecg.voltage_mv[0], expected, rtol=1e-6)


def test_an_array_that_is_no_waveform_is_ordinary():
    order = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "58410-2^CBC^LN")
    assert decode(wcm("NA|789-8^histogram^LN|1|1^2^3", obr=order)).kind is Kind.OTHER


@pytest.mark.parametrize("status", ["D", "X", "W"])
def test_a_withdrawn_lead_is_refused(status):
    bodies = [body.replace("|||||F", f"|||||{status}") for body in lead()]
    assert refused(*bodies) == ("waveform-unsupported", ("OBX", 1, 11))


def test_too_many_arrays_in_one_order():
    arrays = [f"NA|789-8^histogram^LN|{n}|1^2" for n in range(65)]
    assert refused(*arrays)[0] == "waveform-unsupported"


def test_lengths_that_differ():
    bodies = lead("0^1^2") + lead("0^1", "II", path="1.1.1.2")
    assert refused(*bodies) == ("lengths-differ", ("OBX", 4, 5))


def test_rates_that_differ():
    slow = "NM|0^MDC_ATTR_SAMP_RATE^MDC|{path}.1|250|Hz"
    bodies = lead() + lead(name="II", path="1.1.1.2", attributes=(slow, RESOLUTION))
    assert refused(*bodies)[0] == "rate-conflict"


def test_a_lead_that_comes_twice():
    assert refused(*lead(), *lead(path="1.1.1.2"))[0] == "lead-duplicate"


OWN = {"CH1": "I", "Channel 1": "I", "CH2": "II"}


def in_dialect(identifier):
    bodies = [body.replace("131329^MDC_ECG_ELEC_POTL_I^MDC", identifier) for body in lead()]
    return decode(wcm(*bodies), dialect=OWN).exams


@pytest.mark.parametrize("identifier", ["CH1^Channel 1^L", "CH1^^L", "^Channel 1^L", "CH1^I^L"])
def test_a_sender_may_have_its_own_words_for_leads(identifier):
    (exam,) = in_dialect(identifier)
    assert exam.ecg.leads == ("I",)


@pytest.mark.parametrize("identifier", ["CH1^Channel 2^L", "CH1^II^L", "131330^Channel 1^MDC"])
def test_its_code_and_its_name_have_to_agree_all_the_same(identifier):
    with pytest.raises(Refused) as caught:
        in_dialect(identifier)
    assert caught.value.reason == "lead-mismatch"


def test_words_that_are_nobodys_are_no_leads():
    with pytest.raises(Refused) as caught:
        decode(wcm(*[b.replace("131329^MDC_ECG_ELEC_POTL_I^MDC", "CH1^^L") for b in lead()]))
    assert caught.value.reason == "lead-unknown"
