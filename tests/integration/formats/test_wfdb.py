import socket

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from integration.formats.wfdb import MAX_FILE_BYTES, MAX_HEADER_BYTES, parse_header, read
from model.ecg import LEADS_12
from model.errors import EcgError
from model.simulate import simulate

SAMPLES = np.array([[100, -200], [0, 7], [-32768, 1], [5, 6]], "<i2")
LINE = "r.dat 16 1000(0)/mV 16 0 0 0 0"
TWO = "r 2 500 4\nr.dat 16 200(10)/mV 16 0 0 {0} 0 I\nr.dat 16 1(0)/uV 16 0 0 {1} 0 AVR\n"
GOOD = TWO.format(*(int(s) for s in SAMPLES.astype(int).sum(axis=0)))


def write(folder, header, content=None, name="r.dat"):
    (folder / "r.hea").write_text(header)
    (folder / name).write_bytes(SAMPLES.tobytes() if content is None else content)
    return folder / "r.hea"


def reason(header):
    with pytest.raises(EcgError) as refused:
        parse_header(header)
    return refused.value.reason


def test_gain_baseline_unit_and_missing_samples(tmp_path):
    ecg = read(write(tmp_path, GOOD))
    assert (ecg.leads, ecg.sampling_rate_hz, ecg.start) == (("I", "aVR"), 500.0, None)
    assert ecg.resolution_mv == (1 / 200, 1e-3)
    assert ecg.voltage_mv[0].tolist() == pytest.approx([0.45, -0.05, np.nan, -0.025], nan_ok=True)
    assert ecg.voltage_mv[1].tolist() == pytest.approx([-0.2, 0.007, 0.001, 0.006])


@pytest.mark.parametrize(
    ("gain", "resolution_mv", "baseline"),
    [
        ("1000", 1e-3, 0),
        ("1000/mV", 1e-3, 0),
        ("1000.0(-5)/mV", 1e-3, -5),
        ("2/uV", 5e-4, 0),
        ("2/\u00b5V", 5e-4, 0),
        ("2/\u03bcV", 5e-4, 0),
        ("1e6(3)/V", 1e-3, 3),
        ("2.5e2/mV", 4e-3, 0),
    ],
)
def test_resolution_comes_from_the_header(gain, resolution_mv, baseline):
    (signal,) = parse_header(f"r 1 100 4\nr.dat 16 {gain} 16 0 0 0 0 V1\n").signals.values()
    assert (signal.resolution_mv, signal.baseline) == (pytest.approx(resolution_mv), baseline)


def test_a_missing_baseline_is_the_adc_zero():
    (signal,) = parse_header("r 1 100 4\nr.dat 212 200 12 1024 0 0 0 V1\n").signals.values()
    assert (signal.baseline, signal.bits, signal.checksum) == (1024, 12, 0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "header-malformed"),
        ("# only a remark\n", "header-malformed"),
        ("r\n", "header-malformed"),
        (f"r 2 100 4\n{LINE} I\n", "header-malformed"),
        (f"r 1 100 4\n{LINE} I\n{LINE} II\n", "header-malformed"),
        (f"r 1 -100 4\n{LINE} I\n", "header-malformed"),
        ("r 1 100 4\nr.dat I\n", "header-malformed"),
        (f"r 1\n{LINE} I\n", "rate-missing"),
        (f"r 1 100\n{LINE} I\n", "samples-missing"),
        (f"r 1 100 0\n{LINE} I\n", "samples-missing"),
        (f"r 1 100 99999999999\n{LINE} I\n", "samples-out-of-range"),
        ("r 0 100 4\n", "leads-malformed"),
        ("r 33 100 4\n" + 33 * f"{LINE} I\n", "leads-malformed"),
        ("r/2 1 100 4\nr_1 2\nr_2 2\n", "waveform-unsupported"),
        ("r 1 100 4\nr.dat 508 1000/mV 16 0 0 0 0 I\n", "waveform-unsupported"),
        ("r 1 100 4\nr.dat 16x4 1000/mV 16 0 0 0 0 I\n", "waveform-unsupported"),
        ("r 1 100 4\nr.dat 16:3 1000/mV 16 0 0 0 0 I\n", "waveform-unsupported"),
        ("r 1 100 4\nr.dat 16 0/mV 16 0 0 0 0 I\n", "resolution-missing"),
        ("r 1 100 4\nr.dat 16 ./mV 16 0 0 0 0 I\n", "header-malformed"),
        ("r 1 100 4\nr.dat 16 0.5/mV 16 0 0 0 0 I\n", "resolution-out-of-range"),
        ("r 1 100 4\nr.dat 16 -200/mV 16 0 0 0 0 I\n", "resolution-out-of-range"),
        ("r 1 100 4\nr.dat 16 200/mmHg 16 0 0 0 0 I\n", "unit-unknown"),
        ("r 1 100 4\nr.dat 16 200/MV 16 0 0 0 0 I\n", "unit-unknown"),
        (f"r 1 100 4\n{LINE} MLII\n", "lead-missing"),
        (f"r 1 100 4\n{LINE}\n", "lead-missing"),
    ],
)
def test_nothing_is_filled_in(header, expected):
    assert reason(header) == expected


@pytest.mark.parametrize(
    "name", ["../r.dat", "/etc/passwd", "..", "~", "-", "a\\b.dat", "http://x/r.dat", "s3:r.dat"]
)
def test_no_sample_file_lies_elsewhere(name):
    assert reason(f"r 1 100 4\n{name} 16 1000/mV 16 0 0 0 0 I\n") == "header-malformed"
    assert reason(f"r 1 100 4\n{name} 16 1000/mV 16 0 0 0 0 vx\n") == "header-malformed"


def test_other_signals_are_left_out_and_no_lead_comes_twice(tmp_path):
    frank = "r 2 500 4\nr.dat 16 200/mV 16 0 0 0 0 vx\nr.dat 16 200/mV 16 0 1 -186 0 v2\n"
    ecg = read(write(tmp_path, frank))
    assert ecg.leads == ("V2",)
    assert ecg.voltage_mv[0].tolist() == pytest.approx([-1.0, 0.035, 0.005, 0.03])
    with pytest.raises(EcgError, match="lead-duplicate"):
        read(write(tmp_path, GOOD.replace("AVR", "i")))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (SAMPLES.tobytes()[:-2], "samples-malformed"),
        (b"", "samples-malformed"),
        ((SAMPLES + 1).tobytes(), "checksum-mismatch"),
    ],
)
def test_samples_that_do_not_fit_the_header_are_refused(tmp_path, content, expected):
    with pytest.raises(EcgError) as refused:
        read(write(tmp_path, GOOD, content))
    assert refused.value.reason == expected


def test_a_missing_sample_file_is_not_sought_elsewhere(tmp_path, monkeypatch):
    def no_network(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(EcgError, match="file-missing"):
        read(write(tmp_path, GOOD, name="other.dat"))


def test_remarks_may_be_in_an_older_encoding(tmp_path):
    header = write(tmp_path, GOOD)
    header.write_bytes(header.read_bytes() + "# Müller\n".encode("latin-1"))
    assert read(header).leads == ("I", "aVR")


def test_a_huge_sample_file_is_refused(tmp_path):
    header = write(tmp_path, GOOD)
    with (tmp_path / "r.dat").open("r+b") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(EcgError, match="file-too-large"):
        read(header)


def test_a_huge_header_is_refused(tmp_path):
    with pytest.raises(EcgError, match="file-too-large"):
        read(write(tmp_path, GOOD + "#" * MAX_HEADER_BYTES))


@pytest.mark.parametrize("sample_format", ["16", "24", "32", "80", "212"])
def test_what_wfdb_writes_is_read_as_wfdb_reads_it(tmp_path, sample_format):
    ecg = simulate("normal", seed=3, sampling_rate_hz=250)
    gain = 20 if sample_format == "80" else 400
    wfdb.wrsamp(
        "r",
        fs=250,
        units=["mV"] * 12,
        sig_name=list(ecg.leads),
        p_signal=ecg.voltage_mv.T.astype(float),
        fmt=[sample_format] * 12,
        adc_gain=[gain] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path),
    )
    ours, theirs = read(tmp_path / "r.hea"), wfdb.rdsamp(str(tmp_path / "r"))[0]
    assert ours.leads == LEADS_12
    assert np.allclose(ours.voltage_mv, theirs.T, atol=1e-6)
    assert np.abs(ours.voltage_mv - ecg.voltage_mv).max() <= 0.5 / gain + 1e-6


def test_the_lowest_value_of_offset_binary_is_no_value(tmp_path):
    header = "r 1 100 3\nr.dat 160 1000/mV 16 0 0 0 0 II\n".replace("0 0 II", "32775 0 II")
    ecg = read(write(tmp_path, header, np.array([0, 32768, 32775], "<u2").tobytes()))
    assert ecg.voltage_mv[0].tolist() == pytest.approx([np.nan, 0.0, 0.007], nan_ok=True)


MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(GOOD) - 1), st.sampled_from("\n /()0719-.eEmVx:+#~r\t\x00\u00b5")),
    min_size=1,
    max_size=4,
)


@given(MUTATIONS)
@settings(max_examples=150)
def test_a_damaged_header_is_read_or_refused_with_a_reason(tmp_path_factory, mutations):
    text = list(GOOD)
    for position, character in mutations:
        text[position] = character
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    header = write(folder, "".join(text))
    try:
        ecg = read(header)
    except EcgError:
        return
    assert ecg.n_samples <= 4
    assert set(ecg.leads) <= set(LEADS_12)


@pytest.mark.ecg_data
def test_ptbxl_is_read_as_wfdb_reads_it(ptbxl_headers):
    for header in ptbxl_headers[:: len(ptbxl_headers) // 10]:
        ours, (theirs, fields) = read(header), wfdb.rdsamp(str(header.with_suffix("")))
        assert [lead.upper() for lead in ours.leads] == fields["sig_name"]
        assert ours.sampling_rate_hz == fields["fs"]
        assert np.abs(ours.voltage_mv - theirs.T).max() < min(ours.resolution_mv)


@pytest.mark.parametrize("sample_format", ["16+24", "16x1+24"])
@pytest.mark.parametrize("name", ["E00001", "E00001.mat"])
@pytest.mark.parametrize("when", ["", " 05-May-2020 09:49:17", " 11:39:16 05-Feb-2020"])
def test_records_of_the_physionet_challenges_are_read(tmp_path, sample_format, name, when):
    steps = np.random.default_rng(1).integers(-900, 900, (2, 5000)).astype("<i2")
    savemat(tmp_path / "E00001.mat", {"val": steps}, format="4")
    sums = [int(row.sum()) for row in steps]
    lines = [
        f"{name} 2 500 5000{when}",
        *(
            f"E00001.mat {sample_format} 1000/mV 16 0 {row[0]} {total} 0 {lead}"
            for row, total, lead in zip(steps, sums, ("I", "V2"), strict=True)
        ),
        "#Dx: 426783006",
    ]
    (tmp_path / "E00001.hea").write_text("\n".join(lines))
    ecg = read(tmp_path / "E00001.hea")
    assert (ecg.leads, ecg.sampling_rate_hz) == (("I", "V2"), 500.0)
    np.testing.assert_allclose(ecg.voltage_mv, steps / 1000, atol=1e-6)
    (tmp_path / "E00001.mat").write_bytes((tmp_path / "E00001.mat").read_bytes()[:-2])
    with pytest.raises(EcgError, match="samples-malformed"):
        read(tmp_path / "E00001.hea")
