import socket
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from integration.config import Settings
from integration.destinations import open_destination
from integration.errors import TryLater
from integration.fhir.report import build_report


@pytest.fixture
def bundle(exam, findings_of, issued):
    return build_report(exam, findings_of("flagged"), issued=issued)


def opened(**values):
    (given,) = Settings(destinations={"his": values}).destinations.values()
    return open_destination(given, Path("none"), nullcontext)


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
