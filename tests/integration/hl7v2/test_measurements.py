from datetime import UTC, date, datetime

import pytest

from db.clinical import Measurement, Quantity
from integration.hl7v2.decode import Kind, decode
from tests.hl7_messages import MSH, OBR, PID, twelve, wcm

STUDY = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "93000^ELECTROCARDIOGRAM 12 LEAD^CPT4")
VITALS = OBR.replace("69121^MDC_OBS_WAVE_CTS^MDC", "85353-1^Vital signs^LN")
RATE_72 = "NM|8867-4^Heart rate^LN||72|/min|||||F"


def results(*bodies, obr=STUDY, **options):
    return decode(wcm(*bodies, obr=obr, **options)).clinical.results


def number(body, obr=STUDY):
    found = [m for result in results(body, obr=obr) for m in result.measurements]
    assert len(found) < 2
    return found[0] if found else None


@pytest.mark.parametrize(
    ("identifier", "quantity"),
    [
        ("8867-4^Heart rate^LN", Quantity.HEART_RATE),
        ("8625-6^P-R Interval^LN", Quantity.PR),
        ("8633-0^QRS duration^LN", Quantity.QRS),
        ("8634-8^Q-T interval^LN", Quantity.QT),
        ("8636-3^QTc^LN", Quantity.QTC),
        ("76635-2^QTcB^LN", Quantity.QTC_BAZETT),
        ("76634-5^QTcF^LN", Quantity.QTC_FRIDERICIA),
        ("8626-4^P axis^LN", Quantity.P_AXIS),
        ("8632-2^QRS axis^LN", Quantity.QRS_AXIS),
        ("8638-9^T axis^LN", Quantity.T_AXIS),
        (":8625-6^PR INTERVAL", Quantity.PR),
        ("PRI^PR^99X^8625-6^PR^LN", Quantity.PR),
        ("147842^MDC_ECG_HEART_RATE^MDC", Quantity.HEART_RATE),
        ("0^MDC_ECG_HEART_RATE^MDC", Quantity.HEART_RATE),
        ("2:16160^^MDC", Quantity.QT),
        ("147232^^MDC", Quantity.QT),
        ("147072^^MDC", Quantity.RR),
        ("5.10.3-3^QRS^SCPECG", Quantity.QRS),
        ("8601-7^impression^LN", None),
        ("8625-6^PR^LN^8634-8^QT^LN", None),
        ("x" * 2000, None),
        ("", None),
    ],
)
def test_what_is_measured(identifier, quantity):
    found = number(f"ST|{identifier}||71||||||F")
    assert (found.quantity if found else None) == quantity


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("NM|8634-8||400|ms", (400.0, "ms")),
        ("NM|8634-8||0.4|s", (400.0, "ms")),
        ("NM|8634-8||400|264338^MDC_DIM_MILLI_SEC^MDC", (400.0, "ms")),
        ("NM|8634-8||400|ms^millisecond^UCUM", None),  # two words that do not both say ms
        ("NM|8634-8||400|", (400.0, None)),
        ("ST|8634-8|| 400 |", (400.0, None)),
        ("ST|8634-8||400 ms|", (400.0, "ms")),
        ("ST|8634-8||400 ms|msec", (400.0, "ms")),
        ("ST|8634-8||400 ms|s", None),
        ("SN|8634-8||^400|ms", (400.0, "ms")),
        ("SN|8634-8||>^400|ms", None),
        ("NM|8634-8||400|mm", None),
        ("NM|8634-8||400|/min", None),
        ("NM|8634-8||---|ms", None),
        ("NM|8634-8||4,00|ms", None),
        ("NM|8634-8|||ms", None),
        ("NM|8634-8||9999999|ms", None),
        ("NM|8634-8||" + "4" * 5000 + "|ms", None),
        ("NM|8634-8||400|ms|||||X", None),
        ("NM|8867-4||72|bpm", (72.0, "/min")),
        ("NM|8867-4||72|{beats}/min", (72.0, "/min")),
        ("NM|8867-4||72|264864^MDC_DIM_BEAT_PER_MIN^MDC", (72.0, "/min")),
        ("NM|8626-4||-30|deg", (-30.0, "deg")),
        ("NM|8626-4||+5|ms", None),
    ],
)
def test_numbers_and_units(body, expected):
    found = number(body)
    assert ((found.value, found.unit) if found else None) == expected


@pytest.mark.parametrize(
    ("body", "statements"),
    [
        ("TX|8601-7^impression^LN||Sinus rhythm~Normal ECG", ("Sinus rhythm", "Normal ECG")),
        ("ST|:8601-7^ECG IMPRESSION|2|Normal P axis, PR, rate \\T\\ rhythm ", None),
        ("FT|18844-1^^LN||one\\.br\\two", ("one\ntwo",)),
        ("CE|8884-9^rhythm^LN||SR^Sinus rhythm^99X", ("Sinus rhythm",)),
        ("CWE|8884-9^rhythm^LN||SR", ("SR",)),
        ("|8884-9^rhythm^LN||SR", ("SR",)),
        ("TX|8601-7^impression^LN||", ()),
        ("ED|8601-7^impression^LN||^text^plain^A^Sinus", ()),
        ("TX|1^note^L||something", ()),
        ("TX|8601-7^impression^LN||" + "a" * 5000, ("a" * 2000,)),
    ],
)
def test_statements(body, statements):
    told = results(body)
    expected = ("Normal P axis, PR, rate & rhythm",) if statements is None else statements
    assert (told[0].statements if told else ()) == expected


def test_a_statement_with_line_breaks_is_whole():
    (result,) = results("TX|8601-7^impression^LN||one\rtwo|||||F", RATE_72)
    assert result.statements == ("one\ntwo",)
    assert len(result.measurements) == 1


def test_a_result_is_told_with_its_patient_order_and_time():
    (result,) = results(RATE_72, "NM|8634-8^QT^LN||400|ms")
    assert (result.patient.identifier, result.placer_order, result.filler_order) == (
        *("4711", "P1"),
        "F1",
    )
    assert result.acquired == datetime(2026, 1, 2, 2, 4, tzinfo=UTC)
    assert result.measurements == (
        Measurement(Quantity.HEART_RATE, 72.0, "/min"),
        Measurement(Quantity.QT, 400.0, "ms"),
    )
    assert result.exam is None


@pytest.mark.parametrize("pid", ["", "PID|1||", "PID|1||1~2"])
def test_a_result_without_a_certain_patient_is_nobodys(pid):
    (result,) = results(RATE_72, pid=pid)
    assert result.patient is None


@pytest.mark.parametrize("filler", ["F1\0", "F1\\X00\\", "F" * 251])
def test_a_number_that_cannot_be_kept_is_none(filler):
    (result,) = results(RATE_72, obr=STUDY.replace("F1", filler))
    assert (result.placer_order, result.filler_order) == ("P1", None)


@pytest.mark.parametrize(("start", "acquired"), [("soon", None), ("20260102", date(2026, 1, 2))])
def test_a_result_does_not_hang_on_its_time(start, acquired):
    (result,) = results(RATE_72, obr=STUDY.replace("20260102030400+0100", start))
    assert result.acquired == acquired


@pytest.mark.parametrize(
    ("obr", "bodies", "kind"),
    [
        (STUDY, [RATE_72], Kind.MEASUREMENTS),
        (VITALS, [RATE_72], Kind.OTHER),
        (VITALS, [RATE_72, "NM|8634-8^QT^LN||400|ms"], Kind.MEASUREMENTS),
        (VITALS, ["TX|8601-7^impression^LN||SR"], Kind.MEASUREMENTS),
        ("", [RATE_72], Kind.OTHER),
        (VITALS.replace("85353-1^Vital signs", "E8600^ECG"), [RATE_72], Kind.MEASUREMENTS),
        (VITALS + "|" * 17 + "EC", [RATE_72], Kind.MEASUREMENTS),
        (STUDY, ["NM|1^x^L||1"], Kind.OTHER),
    ],
)
def test_a_heart_rate_alone_may_be_any_monitors(obr, bodies, kind):
    assert decode(wcm(*bodies, obr=obr)).kind is kind


def test_codes_in_another_script_are_none_of_ours():
    msh = f"{MSH}||||||UNICODE UTF-8"
    section = VITALS + "|" * 17 + "section\u00e9"
    assert decode(wcm(RATE_72, msh=msh, obr=section)).kind is Kind.OTHER
    status = RATE_72.removesuffix("F") + "\u00e9"
    assert decode(wcm(status, msh=msh, obr=STUDY)).kind is Kind.MEASUREMENTS


def test_measurements_beside_an_ecg_belong_to_it():
    second = OBR.replace("P1^X", "P2").replace("030400", "040400")
    raw = wcm(*twelve(), RATE_72, "NM|8634-8^QT^LN||400|ms", obr=OBR)
    (result,) = decode(raw).clinical.results
    assert result.exam == 0
    aside = wcm(*twelve()) + f"{STUDY}\rOBX|1|{RATE_72}\r".encode()
    assert [r.exam for r in decode(aside).clinical.results] == [0]
    others = aside.replace(STUDY.encode(), f"PID|1||9\r{STUDY}".encode())
    assert [r.exam for r in decode(others).clinical.results] == [None]
    two = wcm(*twelve(), RATE_72, "NM|8634-8^QT^LN||400|ms") + b"\r".join(
        [second.encode(), *wcm(*twelve(), RATE_72, "NM|8634-8^QT^LN||1|ms").split(b"\r")[3:]]
    )
    decoded = decode(two)
    assert len(decoded.exams) == 2
    assert [r.exam for r in decoded.clinical.results] == [0, 1]
    assert PID.encode() in two
