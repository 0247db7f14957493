"""A FHIR R4 server that is not ours, as a process of its own."""

import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest


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
    port = port or _free_port()
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
        process.wait(20)


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _wait_until_it_serves(process, url, log, limit_s=90):
    for _ in range(limit_s * 10):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/metadata", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the FHIR server did not start:\n{log.read_text()[-2000:]}")
