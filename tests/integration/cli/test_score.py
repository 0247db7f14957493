import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wfdb
from click.testing import CliRunner
from pydicom.data import get_testdata_file

from integration.cli import cli, main
from integration.cli.score import as_record, score
from model.ecg import LEADS_12
from model.errors import EcgError
from model.findings import (
    ABNORMALITY_TYPES,
    Explanation,
    Findings,
    Interval,
    LeadFault,
    ModelIdentity,
    Quality,
    TypeFinding,
)
from model.resting.card import SHIPPED
from model.scoring import with_leads
from model.simulate import simulate
from tests.wfdb_folder import write_cinc, write_record

DICOM = str(get_testdata_file("waveform_ecg.dcm", download=False))
ECG = simulate("normal", seed=1)
IDENTITY = ModelIdentity("resting", "1", "ab" * 32)
FINDINGS = Findings(
    quality=Quality("limited", (), (LeadFault("V6", "noise"),)),
    model=IDENTITY,
    types=(TypeFinding("MI", 0.9, 0.2), TypeFinding("STTC", 0.1, 0.3)),
    normal_probability=0.05,
    anomaly_score=0.97,
    anomaly_threshold=0.9,
    explanation=Explanation(0.08, {}, {}, (Interval(3.1000000001, 3.5, "V2", 0.25, "MI"),)),
)


def write(folder, kind):
    ecg = simulate(kind, seed=7)
    wfdb.wrsamp(
        kind,
        fs=ecg.sampling_rate_hz,
        units=["mV"] * 12,
        sig_name=list(ecg.leads),
        p_signal=ecg.voltage_mv.T.astype(float),
        fmt=["16"] * 12,
        adc_gain=[400] * 12,
        baseline=[0] * 12,
        write_dir=str(folder),
    )
    return str(folder / kind)


def run(*arguments):
    return CliRunner().invoke(cli, ["score", *arguments])


def test_json_tells_everything_but_the_maps():
    assert as_record(Path("a.dcm"), ECG, FINDINGS) == {
        "file": "a.dcm",
        "label": "AI-generated, not yet reviewed by a clinician.",
        "leads": [lead for lead in LEADS_12 if lead != "V6"],
        "sampling_rate_hz": 500.0,
        "duration_s": 10.0,
        "quality": {
            "verdict": "limited",
            "reasons": (),
            "lead_faults": ({"lead": "V6", "reason": "noise"},),
        },
        "types": [
            {
                "code": "MI",
                "name": "Myocardial infarction",
                "probability": 0.9,
                "threshold": 0.2,
                "flagged": True,
            },
            {
                "code": "STTC",
                "name": "ST/T change",
                "probability": 0.1,
                "threshold": 0.3,
                "flagged": False,
            },
        ],
        "withheld": [{"code": code, "reason": "few-leads"} for code in ("CD", "HYP", "ARR")],
        "normal_probability": 0.05,
        "anomaly": {"score": 0.97, "threshold": 0.9, "flagged": True},
        "intervals": [
            {"start_s": 3.1, "end_s": 3.5, "lead": "V2", "weight": 0.25, "type_code": "MI"}
        ],
        "strip": None,
        "model": {"name": "resting", "version": "1", "sha256": "ab" * 32},
    }


def test_an_unscorable_ecg_has_no_scores_in_json():
    record = as_record(Path("a"), ECG, Findings(Quality("unscorable", ("no-qrs",)), IDENTITY))
    assert record["quality"]["reasons"] == ("no-qrs",)
    assert (record["types"], record["normal_probability"], record["intervals"]) == ([], None, [])
    assert record["anomaly"] == {"score": None, "threshold": None, "flagged": False}


def test_two_formats_one_json_line_each(tmp_path):
    record = write(tmp_path, "inferior-st-elevation")
    result = run("--json", DICOM, record, record + ".hea", record + ".dat")
    assert (result.exit_code, result.stderr) == (0, "")
    first, *others = map(json.loads, result.stdout.splitlines())
    assert first["file"] == DICOM
    assert [t["code"] for t in first["types"]] == list(ABNORMALITY_TYPES)
    assert first["quality"]["verdict"] == "good"
    assert [o.pop("file") for o in others] == [record, record + ".hea", record + ".dat"]
    assert others[0] == others[1] == others[2]
    assert 0 <= others[0]["anomaly"]["score"] <= 1


def test_a_table_and_the_strongest_interval_in_words(tmp_path):
    result = run("--table", write(tmp_path, "left-bundle-branch-block"))
    assert (result.exit_code, result.stderr) == (0, "")
    conduction = next(r for r in result.stdout.splitlines() if r.strip().startswith("Conduction"))
    assert "!" in conduction
    assert "strongest in V" in result.stdout
    assert "not yet reviewed by a clinician" in result.stdout


def test_what_fails_is_said_with_its_reason_and_the_rest_is_done(tmp_path):
    other = tmp_path / "letter.txt"
    other.write_text("Dear colleague")
    noisy, good = write(tmp_path, "noisy"), write(tmp_path, "normal")
    result = run("--json", str(tmp_path / "nothing"), str(other), noisy, good)
    assert result.exit_code == 1
    first, second, third = result.stderr.splitlines()
    assert f"{tmp_path / 'nothing'}: file-missing: " in first
    assert f"{other}: format-unknown: " in second
    assert f"{noisy}: unscorable: too-few-leads" in third
    missing, letter, unscorable, scored = map(json.loads, result.stdout.splitlines())
    assert missing["error"]["reason"] == "file-missing"
    assert letter["error"]["reason"] == "format-unknown"
    assert (unscorable["quality"]["verdict"], unscorable["types"]) == ("unscorable", [])
    assert (scored["file"], scored["quality"]["verdict"]) == (good, "good")


def test_a_rate_beyond_the_strip_models_keeps_the_types_and_the_other_files(tmp_path):
    for name, rate_hz in (("fast", 2000.0), ("usual", 500.0)):
        ecg = simulate("normal", seed=7, sampling_rate_hz=rate_hz)
        write_record(tmp_path / name, ecg, [])
        write_record(tmp_path / f"{name}-strip", with_leads(ecg, ("II",)), [])
    names = ("fast", "usual", "fast-strip", "usual-strip")
    result = run("--json", *(str(tmp_path / f"{name}.hea") for name in names))
    records = dict(zip(names, map(json.loads, result.stdout.splitlines()), strict=True))
    verdicts = {name: record["quality"]["verdict"] for name, record in records.items()}
    assert list(verdicts.values()) == ["limited", "good", "unscorable", "good"]
    assert records["fast"]["quality"]["reasons"] == ["rate-out-of-range"]
    assert len(records["fast"]["types"]) == 5
    assert result.exit_code == 1
    assert "fast-strip.hea: unscorable: rate-out-of-range" in result.stderr


class Refusing:
    """Reads an ECG of 500 Hz, and no other."""

    card = None

    def examine(self, ecg):
        if ecg.sampling_rate_hz == ECG.sampling_rate_hz:
            return FINDINGS, None
        raise EcgError("rate-out-of-range", "not this one")


def test_an_ecg_that_the_model_refuses_does_not_keep_the_others_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr("integration.cli.score._reader", lambda *_: Refusing())
    for name, rate_hz in (("first", 250.0), ("second", 500.0)):
        write_record(tmp_path / name, simulate("normal", seed=7, sampling_rate_hz=rate_hz), [])
    result = run("--json", str(tmp_path / "first.hea"), str(tmp_path / "second.hea"))
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["error"] == {"reason": "rate-out-of-range", "detail": "not this one"}
    assert second["model"]["name"] == IDENTITY.name


def test_many_files_show_how_far_it_is(tmp_path):
    missing = [str(tmp_path / f"{n:02}") for n in range(20)]
    few, many = run("--json", *missing[:19]), run("--json", *missing)
    assert few.exit_code == many.exit_code == 1
    assert few.stdout.count("file-missing") == 19
    assert many.stdout.count("file-missing") == 20
    assert "scoring" not in few.stderr
    assert many.stderr.splitlines()[-1].startswith("scoring: 20 of 20, ")
    assert many.stderr.count("file-missing") == 20


def test_an_unscorable_ecg_gets_no_table(tmp_path):
    result = run("--table", write(tmp_path, "noisy"))
    assert result.exit_code == 1
    assert "too few readable leads" in result.stdout
    assert "Myocardial" not in result.stdout


def test_wrong_usage_is_2(tmp_path, monkeypatch, capsys):
    assert run().exit_code == 2
    assert run("--xml", DICOM).exit_code == 2
    monkeypatch.setattr(sys, "argv", ["hisbundle", "score", "--model-path", str(tmp_path), DICOM])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "bundle-" in capsys.readouterr().err


def test_another_bundle_can_be_named(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bundle")
    result = run("--json", "--model-path", str(tmp_path / "bundle"), DICOM)
    assert result.exit_code == 0
    assert result.stdout == run("--json", DICOM).stdout


def test_help_needs_no_torch():
    code = (
        "import sys; from click.testing import CliRunner; from integration.cli.score import score;"
        "print(CliRunner().invoke(score, ['--help']).exit_code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "False"]
    assert "--model-path" in CliRunner().invoke(score, ["--help"]).stdout


def test_json_tells_what_the_findings_rest_on(tmp_path):
    result = run("--json", write(tmp_path, "left-bundle-branch-block"))
    (record,) = map(json.loads, result.stdout.splitlines())
    assert set(record["flags"]) == {"screening", "balanced", "specific"}
    assert set(record["flags"]["specific"]) <= set(record["flags"]["screening"])
    assert "CD" in record["flags"]["balanced"]
    assert len(record["statements"]) == 71
    assert set(record["anomaly_components"]) == {"restoration", "latent", "types"}
    assert record["leads"] == list(LEADS_12)
    assert record["withheld"] == []


def test_one_lead_gives_rhythm_and_says_what_it_cannot(tmp_path):
    ecg = simulate("atrial-fibrillation", seed=3)
    write_record(tmp_path / "strip", with_leads(ecg, ("II",)), [])
    result = run("--json", "--model", "resting", str(tmp_path / "strip.hea"))
    (record,) = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert record["quality"]["verdict"] == "limited"
    assert record["quality"]["reasons"] == ["few-leads"]
    assert "ARR" in [t["code"] for t in record["types"] if t["flagged"]]
    withheld = {w["code"] for w in record["withheld"]}
    assert {"MI", "HYP"} <= withheld
    assert not withheld & {code for codes in record["flags"].values() for code in codes}
    assert record["statements"] == {}
    table = run("--table", "--model", "resting", str(tmp_path / "strip.hea")).stdout
    assert "not assessed with so few leads" in table


@pytest.mark.parametrize("reader", ["auto", "strip"])
def test_a_strip_is_read_by_the_strip_model(tmp_path, reader):
    ecg = simulate("atrial-fibrillation", seed=3, duration_s=30.0)
    write_record(tmp_path / "strip", with_leads(ecg, ("II",)), [])
    result = run("--json", "--model", reader, str(tmp_path / "strip.hea"))
    (record,) = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 0
    assert record["model"]["name"] == "strip"
    assert record["types"] == record["withheld"] == []
    assert [r["code"] for r in record["strip"]["rhythms"]] == ["AF"]
    time_s, aami_class, probability, anomaly = record["strip"]["beats"][0]
    assert 0 <= time_s < 2
    assert aami_class in "NSVFQ"
    assert 0 <= min(probability, anomaly) <= max(probability, anomaly) <= 1
    table = run("--table", "--model", reader, str(tmp_path / "strip.hea")).stdout
    assert "rhythm: Atrial fibrillation or flutter" in table


def test_rhythm_of_a_resting_ecg_stands_beside_its_types(tmp_path):
    write_record(tmp_path / "ecg", simulate("ventricular-ectopy", seed=7), [])
    (record,) = map(json.loads, run("--json", str(tmp_path / "ecg.hea")).stdout.splitlines())
    assert record["model"]["name"] == "resting"
    assert record["strip"]["model"]["name"] == "strip"
    assert "V" in [beat[1] for beat in record["strip"]["beats"]]
    assert record["flags"]


def test_a_folder_is_searched_and_what_is_no_recording_passed_over(tmp_path):
    write_cinc(tmp_path / "set", 2)
    (tmp_path / "set" / "RECORDS").write_text("g1/A0001")
    (tmp_path / "set" / "g1" / "A0002.mat").write_bytes(b"")
    result = run("--json", str(tmp_path))
    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert first["file"].endswith("A0001.hea")
    assert second["error"]["reason"] == "samples-malformed"
    assert "passed over, no recordings: 1 files" in result.stderr


def test_an_empty_folder_is_no_success(tmp_path):
    result = run(str(tmp_path))
    assert result.exit_code == 1
    assert "no files in there" in result.stderr
