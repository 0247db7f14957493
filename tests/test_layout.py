"""The tree keeps its own rules: tests mirror modules, files stay readable, nothing foreign."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("integration", "worker", "model", "db")
MAX_LINES = 400

# Modules without a test file of their own, and where they are tested instead.
TESTED_ELSEWHERE = {
    "db/columns.py": "tests/db/test_tables.py",
    "db/upkeep_tables.py": "tests/db/test_migrate.py",
    "db/mapping.py": "tests/db/test_exams.py",
    "db/store.py": "tests/db",
    "db/chunks.py": "tests/db/test_streams.py",
    "db/stream_tables.py": "tests/db/test_migrate.py",
    "db/streaming.py": "tests/db/test_streams.py",
    "db/migrations/env.py": "tests/db/test_migrate.py",
    "integration/__main__.py": "tests/integration/cli/test_main.py",
    "integration/cli/bench_serving.py": "tests/integration/cli/test_bench_mllp.py",
    "integration/cli/database.py": "tests/integration/test_database.py",
    "integration/cli/demo.py": "tests/journey/test_demo.py",
    "integration/cli/migrate.py": "tests/journey/test_distributed.py",
    "integration/cli/serve.py": "tests/journey/test_message_to_report.py",
    "integration/cli/status.py": "tests/journey/test_message_to_report.py",
    "integration/kafka/event.py": "tests/integration/kafka/test_ecg_event.py",
    "integration/fhir/settings.py": "tests/integration/test_config.py",
    "integration/hl7v2/settings.py": "tests/integration/test_config.py",
    "integration/inbox.py": "tests/integration/test_archive.py",
    "integration/sections.py": "tests/integration/test_config.py",
    "integration/security/settings.py": "tests/integration/test_config.py",
    "integration/server.py": "tests/journey/test_message_to_report.py",
    "model/baselines/__main__.py": "tests/model/baselines/test_registry.py",
    "model/baselines/convolutional.py": "tests/model/baselines/test_networks.py",
    "model/baselines/recurrent.py": "tests/model/baselines/test_networks.py",
    "model/baselines/xresnet.py": "tests/model/baselines/test_networks.py",
    "model/errors.py": "tests/integration/test_errors.py",
    "model/resting/settings.py": "tests/model/resting/test_network.py",
    "model/strip/cross_validated.py": "tests/model/strip/test_cross_validation.py",
    "model/strip/figures.py": "tests/model/strip/test_evaluate.py",
    "model/strip/normals.py": "tests/model/strip/test_restoration.py",
    "model/strip/reference.py": "tests/model/strip/test_release.py",
    "model/strip/settings.py": "tests/model/strip/test_network.py",
    "worker/__main__.py": "tests/journey/test_kill.py",
    "worker/context.py": "tests/journey/test_kill.py",
    "worker/tasks.py": "tests/journey/test_kill.py",
}


def tracked(*patterns):
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    return [line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def modules():
    return [
        path
        for path in tracked(*(f"{package}/*.py" for package in PACKAGES))
        if not path.endswith("__init__.py") and "/versions/" not in path
    ]


@pytest.mark.parametrize("path", modules())
def test_every_module_has_its_tests(path):
    module = Path(path)
    mirrored = ROOT / "tests" / module.with_name(f"test_{module.name}")
    if path in TESTED_ELSEWHERE:
        assert (ROOT / TESTED_ELSEWHERE[path]).exists()
        assert not mirrored.exists(), "no longer an exception"
    else:
        assert mirrored.exists()


@pytest.mark.parametrize("path", modules())
def test_files_stay_readable(path):
    assert (ROOT / path).read_text().count("\n") <= MAX_LINES


def test_the_tree_speaks_of_itself_alone():
    # Written so that this file does not contain what it looks for.
    foreign = re.compile("|".join(["/wor" + "k/", "/roo" + "t/", "TO" + "DO", "FIX" + "ME"]))
    found = [
        f"{path}: {line}"
        for path in tracked("*.py", "*.md", "*.toml", "*.json", "Makefile", ".ci/run")
        for line in (ROOT / path).read_text().splitlines()
        if foreign.search(line)
    ]
    assert not found


def test_no_file_is_large():
    assert max((ROOT / path).stat().st_size for path in tracked()) < 10_000_000
