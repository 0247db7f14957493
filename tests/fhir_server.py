"""A FHIR R4 server that is not ours, as a process of its own."""

import json
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest

from tests.patience import PATIENCE_S, wait_for
from tests.ports import free_port


@pytest.fixture(scope="session")
def fhir_server(tmp_path_factory):
    """Base URL of sekmet-fhir on a free loopback port, empty at first."""
    with running_fhir_server(tmp_path_factory.mktemp("fhir-server")) as url:
        yield url


@contextmanager
def running_fhir_server(folder, port=None, **settings):
    """Run sekmet-fhir with these settings, by default on a free port, and yield its base URL.

    The same folder and port again are the same server after a restart: what it held is there.
    """
    port = port or free_port()
    url = f"http://127.0.0.1:{port}/fhir"
    settings |= {
        "base_url": url,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder),
        "simulator": {"enabled": False},
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-P", "-m", "sekmet.cli", "serve", "--config", "settings.yaml"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_it_serves(process, url, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def search(url, kind, **parameters):
    """Return the resources that a server finds."""
    answer = (
        httpx.get(f"{url}/{kind}", params=parameters, timeout=PATIENCE_S).raise_for_status().json()
    )
    return [entry["resource"] for entry in answer.get("entry", [])]


def _wait_until_it_serves(process, url, log):
    def serves():
        if process.poll() is not None:
            pytest.fail(f"the FHIR server did not start:\n{log.read_text()[-2000:]}")
        try:
            return httpx.get(f"{url}/metadata", trust_env=False, timeout=PATIENCE_S).is_success
        except httpx.TransportError:
            return False

    wait_for(serves, "the FHIR server", pause_s=0.1)
