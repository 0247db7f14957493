import math
import socket
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from integration.config import Settings
from integration.destinations import open_destination
from integration.errors import TryLater
from integration.fhir.report import build_report
from tests.scripted_server import scripted_server


@pytest.fixture
def bundle(exam, findings_of, issued):
    return build_report(exam, findings_of("flagged"), issued=issued)


def opened(limit_s=math.inf, **values):
    (given,) = Settings(destinations={"his": values}).destinations.values()
    return open_destination(given, Path("none"), nullcontext, limit_s=limit_s)


def test_each_kind_speaks_its_own_language(bundle):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen():
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    heard.append(connection.recv(20))

        ear = threading.Thread(target=listen)
        ear.start()
        port = listening.getsockname()[1]
        for send in (
            opened(kind="fhir", base_url=f"http://127.0.0.1:{port}/r4"),
            opened(kind="oru", host="127.0.0.1", port=port),
        ):
            with pytest.raises(TryLater, match="destination-unreachable"):
                send(bundle)
        ear.join()
    assert heard[0].startswith(b"POST /r4/Device HTTP")
    assert heard[1].startswith(b"\x0bMSH|^~\\&|HISBUNDLE")


def test_all_requests_of_a_report_have_one_deadline(bundle):
    asked = []

    def slow(path, _):
        asked.append(path)
        time.sleep(0.2)
        return 201, {"Location": f"{path}/{len(asked)}"}, {}

    with scripted_server(slow) as url:
        send = opened(kind="fhir", base_url=url, style="single", limit_s=0.5)
        for _ in range(2):  # each has its own
            with pytest.raises(TryLater, match="destination-timeout"):
                send(bundle)
    assert 2 <= len(asked) <= 6


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kind": "fhir", "base_url": "http://{}/r4"}, "destination-timeout"),
        ({"kind": "oru", "host": "127.0.0.1"}, "destination-timeout"),
        ({"kind": "oru", "host": "127.0.0.1", "tls": {}}, "destination-unreachable"),
        ({"kind": "kafka", "bootstrap_servers": "{}", "topic": "t"}, "destination-unreachable"),
    ],
    ids=["fhir", "oru", "oru-tls", "kafka"],
)
def test_who_says_nothing_ends_in_time_whatever_it_speaks(bundle, values, reason):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        given = {k: v.format(f"{host}:{port}") if k != "tls" else v for k, v in values.items()}
        if given["kind"] == "oru":
            given["port"] = port
        send = opened(**given, limit_s=0.5)
        start = time.monotonic()
        with pytest.raises(TryLater, match=reason):
            send(bundle)
        assert time.monotonic() - start < 8
