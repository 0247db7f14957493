"""Every command has help and an example in it, tells results as JSON, and the example works."""

import json
import re
import shlex
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import click
import pytest
import wfdb
from click.testing import CliRunner

from db.clinical import Incoming
from db.keys import INDEX, SEAL
from db.oversight import ModelStop
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.replays import Replay, ReplayState, Stage
from db.retention import Hold
from integration.cli import cli
from integration.cli.examples import EXAMPLES, every_command
from integration.config import load_settings
from integration.database import open_store
from integration.hl7v2.encode import encode_ecg
from integration.security.keys import new_key
from model.assessor import Assessor
from model.resting.card import SHIPPED
from model.simulate import simulate
from tests.databases import new_database
from tests.journey.conftest import Installation
from worker.pipeline import Rules, score_exam

ROOT = Path(__file__).parents[3]
NOW = datetime.now(UTC)

# Too long to be run here, or on data that not everybody has: where they are run, and how.
RUN_ELSEWHERE = {
    "bench fhir": "tests/integration/cli/test_bench_fhir.py",
    "bench kafka": "tests/integration/cli/test_bench_kafka.py",
    "bench mllp": "tests/integration/cli/test_bench_mllp.py",
    "bench model": "tests/integration/cli/test_bench.py",
    "demo": "tests/journey/test_demo.py",
    "evaluate": "tests/integration/cli/test_evaluate.py",
    "export": "tests/integration/cli/test_export.py",
    "kafka check": "tests/integration/cli/test_kafka.py",
    "serve": "tests/journey/conftest.py",
    "train": "tests/integration/cli/test_train.py",
}
# They print no results: what they do is seen elsewhere, or they go on until they are stopped.
WITHOUT_RESULTS = {
    "dead-letters discard",
    "demo",
    "encryption key",
    "migrate",
    "model start",
    "model stop",
    "replay cancel",
    "replay pause",
    "retention release",
    "serve",
    "worker",
}
ALWAYS_JSON = {"audit export", "bench soak", "export", "train"}


COMMANDS = every_command(cli)


def test_every_command_has_an_example():
    assert not COMMANDS.keys() - EXAMPLES.keys(), "give it a line in integration/cli/examples.py"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_its_example(name):
    found = COMMANDS[name]
    assert found.help
    for option in found.params:
        assert isinstance(option, click.Argument) or option.help
    told = CliRunner().invoke(cli, [*name.split(), "--help"]).output
    assert f"Example: {EXAMPLES[name]}" in " ".join(told.split())


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT_RESULTS - ALWAYS_JSON))
def test_results_are_told_as_json(name):
    assert any("--json" in option.opts for option in COMMANDS[name].params)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A listener that runs, with one ECG of each fate and the files that the examples name."""
    folder = tmp_path_factory.mktemp("site")
    installation = Installation(
        folder,
        DESTINATIONS__EHR__KIND="fhir",
        DESTINATIONS__EHR__BASE_URL="http://127.0.0.1:1/",
        ENCRYPTION__KEYS=";".join(new_key(kind, "2026") for kind in (SEAL, INDEX)),
    )
    ecg = simulate("normal", seed=1)
    exam = NewExam(PatientRef("4711"), ecg, NOW)
    raw = encode_ecg(
        exam, control_id="E1", sender_application="CART", sender_facility="ED", now=NOW
    )
    (folder / "message.hl7").write_bytes(raw)
    archive = folder / "archive"
    archive.mkdir()
    wfdb.wrsamp(
        "4711",
        fs=ecg.sampling_rate_hz,
        units=["mV"] * len(ecg.leads),
        sig_name=list(ecg.leads),
        p_signal=ecg.voltage_mv.T.astype(float),
        fmt=["16"] * len(ecg.leads),
        write_dir=str(archive),
    )
    new_database(folder / "data" / "hisbundle.db")
    installation.serve("--no-worker")
    (folder / "data" / "worker.alive").touch()
    yield installation
    installation.stop()


@pytest.fixture
def store(site, monkeypatch):
    monkeypatch.chdir(site.folder)
    for variable, value in site.environment.items():
        monkeypatch.setenv(variable, value)
    with closing(open_store(load_settings())) as store:
        yield store


@pytest.fixture
def stand_ins(store):
    """Return what stands for an id in an example."""

    def received():
        message = NewMessage.whole("mllp", "CART^ED", str(uuid4()), b"MSH|", NOW)
        exam = NewExam(PatientRef("4711"), simulate("normal", seed=1), NOW)
        return store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])).exam_ids[
            0
        ]

    def ecg():
        exam_id = received()
        score_exam(store, Assessor.load(), exam_id, Rules(destinations=(), max_attempts=1))
        return exam_id

    def letter():
        exam_id = received()
        store.fail_exam(exam_id, "scoring-crashed")
        return exam_id

    def replay():
        state, none = ReplayState.RUNNING, (None, None)
        new = Replay(uuid4(), NOW, "me", "state:failed", Stage.SCORE, state, 0, 0, 0, *none)
        store.begin_replay(new)
        return new.id

    def hold():
        new = Hold(uuid4(), NOW, "me", "case 12", "4711", None)
        store.add_hold(new)
        return new.id

    def head():
        ecg()
        store.seal_audit()
        number, sha256 = store.audit_head()
        return f"{number}:{sha256}"

    return {
        "ECG": ecg,
        "LETTER": letter,
        "REPLAY": replay,
        "HOLD": hold,
        "HEAD": head,
        "BUNDLE": lambda: SHIPPED,
    }


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(RUN_ELSEWHERE)))
def test_the_example_works(name, site, store, stand_ins, monkeypatch):
    if name == "model start":
        store.stop_model(ModelStop("resting@0.9.0", NOW, "me", "too many false alarms"))
    if name in {"backup", "restore"}:
        Path("hisbundle.backup").unlink(missing_ok=True)
    if name == "restore":  # into an installation that has nothing yet
        CliRunner().invoke(cli, shlex.split(EXAMPLES["backup"])[1:], catch_exceptions=False)
        monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(site.folder / "restored"))
    line = re.sub(r"\$(\w+)", lambda found: str(stand_ins[found[1]]()), EXAMPLES[name])
    words = shlex.split(re.split(" >>? ", line)[0])
    assert words[0] == "hisbundle"
    if name == "send mllp":  # the example's listener has the port that it has by default
        words += ["--port", str(site.mllp_port)]
    done = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
    expected = {0, 1} if name == "check" else {0}  # its destination is away
    assert done.exit_code in expected, done.output
    if "--json" in words or name in ALWAYS_JSON:
        for text in done.stdout.splitlines() if name in ALWAYS_JSON else [done.stdout]:
            json.loads(text)
    assert "\x1b" not in done.output, "colours are for terminals"


@pytest.mark.parametrize("name", sorted(RUN_ELSEWHERE))
def test_the_example_of_what_is_run_elsewhere_can_be_read(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ptb-xl").mkdir()
    (tmp_path / "runs" / "1").mkdir(parents=True)
    *_, words = name.split(), shlex.split(EXAMPLES[name])[1:]
    COMMANDS[name].make_context(name, words[len(name.split()) :])
    assert name.split()[-1] in (ROOT / RUN_ELSEWHERE[name]).read_text()
