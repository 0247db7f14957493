"""The image and the compose files: linted, their settings loaded, the product run without torch."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from integration.config import Settings, load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = sorted(DEPLOY.glob("compose.*.yaml"))
SECRETS = {
    "HISBUNDLE_HTTP_TOKEN": "a-token-of-enough-characters",
    "POSTGRES_PASSWORD": "p",
    "RABBITMQ_PASSWORD": "r",
    "GRAFANA_PASSWORD": "g",
}
SETTINGS = set(Settings.model_fields)
WITHOUT_TORCH = """
import sys

class NoTorch:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch())
import integration.server, worker.__main__, worker.context
from click.testing import CliRunner
from integration.cli import _COMMANDS, cli
from model.assessor import Assessor
from model.simulate import simulate

for name in _COMMANDS:
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0, name
print(Assessor.load().score(simulate("normal", seed=1)).quality.verdict)
"""


def tool(name, *arguments):
    done = subprocess.run(
        [Path(sys.executable).with_name(name), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dockerfile():
    """Return the instructions, each on one line."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_hadolint_finds_nothing():
    tool("hadolint", DEPLOY / "Dockerfile")


def test_the_image_has_a_pinned_base_no_root_and_only_what_is_there():
    lines = dockerfile()
    (base,) = (line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))
    assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-\w+", base)
    assert [line.split()[1] for line in lines if line.startswith("FROM ")] == ["${BASE}"] * 2
    last = lines[[n for n, line in enumerate(lines) if line.startswith("FROM ")][-1] :]
    assert "USER 10001:10001" in last
    assert not any(line.startswith("ADD ") for line in lines)
    copied = [
        source
        for line in lines
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    ]
    assert set(copied) >= {"db", "model", "integration", "worker"}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore, f"{source} does not reach the builder"


def test_what_the_image_installs_is_all_but_torch():
    done = subprocess.run(
        [sys.executable, DEPLOY / "requirements.py"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    wanted = done.stdout.split()
    assert "onnxruntime==1.32.0" in wanted
    assert any(one.startswith("redis==") for one in wanted)
    assert not any(one.startswith("torch") for one in wanted)


def test_everything_that_serves_runs_without_torch():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=170,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "good"), done.stderr[-2000:]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_are_of_the_specification(path):
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path))


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_hang_together(path):
    told = yaml.safe_load(path.read_text())
    services = told["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services)
        assert re.search(r":v?\d+\.\d+", service["image"]), f"{name}: no version"
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name}: published to everybody"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = (
                (DEPLOY / source).exists() if source.startswith(".") else source in told["volumes"]
            )
            assert known, volume
        if service["image"].startswith("hisbundle:"):
            assert service["read_only"]
            assert service["cap_drop"] == ["ALL"]
            assert "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_set_settings_that_exist(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    ours = [
        service
        for service in yaml.safe_load(path.read_text())["services"].values()
        if service["image"].startswith("hisbundle:")
    ]
    assert ours
    for service in ours:
        with monkeypatch.context() as environment:
            for name, value in service["environment"].items():
                assert name.removeprefix("HISBUNDLE_").split("__")[0].lower() in SETTINGS, name
                given = re.sub(r"\$\{(\w+):?\??[^}]*\}", lambda m: SECRETS[m[1]], value)
                environment.setenv(name, given)
            settings = load_settings()
        assert settings.http.asks_for_tokens
        assert settings.log_format == "json"
    assert settings.destinations or "embedded" in path.name


def test_the_secrets_that_compose_asks_for_have_an_example():
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.full.yaml").read_text()))
    example = (DEPLOY / "compose.full.env.example").read_text()
    assert asked == set(re.findall(r"^(\w+)=", example, re.MULTILINE)) == set(SECRETS)


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker to render with")
@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_renders_them(path):
    command = ["docker", "compose", "--file", path, "config", "--format", "json"]
    if subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    ).returncode:
        pytest.skip("docker here has no compose")
    done = subprocess.run(command, capture_output=True, check=False, env=SECRETS, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["services"]
