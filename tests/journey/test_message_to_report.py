"""One ECG from a hospital's message to a DiagnosticReport, sent by a client that is not ours."""

import base64
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import wfdb
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from db.store import Store
from integration.fhir.settings import HttpSettings
from integration.formats import read_ecg
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.framing import frame
from integration.server import _listen
from model.ecg import LEADS_12
from model.simulate import simulate
from tests.patience import PATIENCE_S

PATIENT = "ZZCANARY-4711"


def test_answers_over_http_do_not_wait_for_acknowledgements():
    listening = _listen(HttpSettings(port=0))
    with listening, socket.create_connection(listening.getsockname()), listening.accept()[0] as one:
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def send_with_hl7(installation, raw: bytes) -> str:
    """Send with `mllp_send` of the package hl7 and return what it printed: the answer."""
    file = installation.folder / "message.hl7"
    file.write_bytes(frame(raw))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("mllp_send"),
            *("--file", file, "--port", str(installation.mllp_port), "127.0.0.1"),
        ],
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return done.stdout.decode().replace("\r\n", "\r").replace("\n", "\r").strip()


def report_of(installation, exam_id: str):
    status, report = installation.get(f"/fhir/DiagnosticReport/{exam_id}")
    assert status == 200
    DiagnosticReport.model_validate(report)
    return report


def test_a_ptbxl_record_becomes_a_report(install, message, ptbxl_headers):
    header = ptbxl_headers[0]
    ecg = read_ecg(header)
    installation = install()
    installation.serve()
    answer = send_with_hl7(installation, message(ecg, "PTB1"))
    assert "MSA|AA|PTB1" in answer
    (exam,) = installation.settled(1)
    assert exam["state"] in {"delivered", "unscorable"}

    report = report_of(installation, exam["id"])
    assert report["status"] == "preliminary"
    assert report["subject"]["identifier"]["value"] == PATIENT

    # Millivolts in the database against WFDB's own, lead by lead.
    store = Store.open(f"sqlite:///{installation.folder / 'data' / 'hisbundle.db'}")
    kept = store.load_exam(UUID(exam["id"])).ecg
    store.close()
    expected, fields = wfdb.rdsamp(str(header.with_suffix("")))
    names = [name.upper() for name in fields["sig_name"]]
    assert kept.sampling_rate_hz == fields["fs"]
    for lead in LEADS_12:
        difference = np.abs(kept.lead(lead) - expected[:, names.index(lead.upper())])
        assert difference.max() <= 0.001  # one step of PTB-XL: 1 / (1000 per mV)


def test_the_report_can_be_found_by_patient_and_read_by_people(install, message):
    installation = install()
    installation.serve()
    send_with_hl7(installation, message(simulate("normal", seed=1), "S1"))
    (exam,) = installation.settled(1)
    query = f"patient.identifier={PATIENT}"
    status, found = installation.get(f"/fhir/DiagnosticReport?{query}")
    assert status == 200
    Bundle.model_validate(found)
    assert found["total"] == 1
    assert found["entry"][0]["resource"]["id"] == exam["id"]
    page = base64.b64decode(report_of(installation, exam["id"])["presentedForm"][0]["data"])
    assert b"AI" in page
    url = f"http://127.0.0.1:{installation.http_port}/fhir/Binary/{exam['id']}"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        assert answer.read().startswith(b"%PDF-")
    assert installation.get("/fhir/DiagnosticReport?patient.identifier=other")[1]["total"] == 0


def test_what_cannot_be_analysed_is_never_normal(install, message):
    installation = install()
    installation.serve()
    send_with_hl7(installation, message(simulate("noisy", seed=2), "N1"))
    (exam,) = installation.settled(1)
    assert exam["state"] == "unscorable"
    assert exam["reason"]
    report = report_of(installation, exam["id"])
    assert "could not be analysed" in report["conclusion"]
    assert "conclusionCode" not in report


def test_the_same_message_again_gets_its_first_answer(install, message):
    installation = install()
    installation.serve()
    raw = message(simulate("normal", seed=3), "D1")
    first = send_with_hl7(installation, raw)
    again = send_with_hl7(installation, raw)
    assert first == again
    assert read_acknowledgement(first.encode()).code == "AA"
    installation.settled(1)
    assert installation.status()["messages"]["accepted"] == 1


@pytest.mark.parametrize("times", [3])
def test_a_stopped_installation_goes_on_where_it_was(install, message, times):
    installation = install()
    for n in range(times):
        process = installation.serve("--no-worker" if n < times - 1 else "--worker")
        send_with_hl7(installation, message(simulate("normal", seed=n), f"R{n}"))
        if n < times - 1:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    assert len(installation.settled(times)) == times
