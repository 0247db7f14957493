"""A report goes to an EHR that speaks HL7 v2: here another installation's listener, over TLS."""

from datetime import UTC, datetime, timedelta

import numpy as np

from model.ecg import Ecg
from model.simulate import simulate
from tests.private_ca import PrivateCa


def ehr(install, ca):
    own = str(ca.issue("listener", "127.0.0.1"))
    tls = {"CERTIFICATE": own, "KEY": own, "CLIENT_CA": str(ca.file)}
    return install(**{f"MLLP__TLS__{name}": value for name, value in tls.items()})


def test_over_mutual_tls_and_after_an_outage(install, message, tmp_path):
    ca = PrivateCa(tmp_path)
    receiver, own = ehr(install, ca), str(ca.issue("hisbundle", "hisbundle.hospital.example"))
    sender = install(
        DESTINATIONS__HIS__KIND="oru",
        DESTINATIONS__HIS__HOST="127.0.0.1",
        DESTINATIONS__HIS__PORT=str(receiver.mllp_port),
        DESTINATIONS__HIS__TLS__CA=str(ca.file),
        DESTINATIONS__HIS__TLS__CERTIFICATE=own,
    )
    sender.serve()
    sender.send(message(simulate("inferior-st-elevation", seed=1), "E1"))
    waiting = sender.wait_for(
        lambda: sender.status()["deliveries"]["pending"], "the delivery to wait"
    )
    assert waiting == 1
    receiver.serve("--no-worker")
    (exam,) = sender.settled(1)
    assert exam["state"] == "delivered"
    told = receiver.status()
    assert told["messages"]["not-ecg"] == 1
    assert told["exams"]["received"] == 0


def test_a_monitors_fibrillation_becomes_one_report(install, message):
    installation = install()
    installation.serve()
    whole = simulate("atrial-fibrillation", seed=4, sampling_rate_hz=250.0, duration_s=70.0)
    start = datetime.now(UTC) - timedelta(minutes=2)
    rate = int(whole.sampling_rate_hz)
    for second in range(70):
        piece = whole.voltage_mv[:, second * rate : (second + 1) * rate]
        moment = start + timedelta(seconds=second)
        packet = Ecg(np.ascontiguousarray(piece), whole.leads, float(rate), moment)
        assert b"|AA|" in installation.send(message(packet, f"P{second}"))
    told = installation.wait_for(
        lambda: (s := installation.status())["exams"]["delivered"] and s, "the episode"
    )
    assert told["exams"]["stitched"] == 70
    (exam,) = [e for e in told["recent"] if e["state"] == "delivered"]
    status, report = installation.get(f"/fhir/DiagnosticReport/{exam['id']}")
    assert status == 200
    assert "of atrial fibrillation or flutter in a continuous recording" in str(report)


def test_an_ehr_decides_by_oru(install, message):
    installation = install()
    installation.serve()
    installation.send(message(simulate("inferior-st-elevation", seed=1), "E1"))
    (exam,) = installation.settled(1)

    def decide(name, status, *observations, by="ZZCANARY-7&House&Gregory"):
        obr = ["OBR", "1", "", f"{exam['id']}^HISBUNDLE", "11524-6^EKG study^LN", *[""] * 20]
        obr += [status, *[""] * 6, by]
        kind = f"ORU^R01^ORU_R01|{name}|P|2.5.1"
        segments = [
            rf"MSH|^~\&|EHR|HOSP|HISBUNDLE||20260301120000+0000||{kind}",
            "PID|1||ZZCANARY-4711^^^ZZCANARYHOSP",
            "|".join(obr),
            *observations,
        ]
        return installation.send("".join(f"{s}\r" for s in segments).encode())

    def report():
        return installation.get(f"/fhir/DiagnosticReport/{exam['id']}")[1]

    said = "OBX|1|TX|8601-7^EKG impression^LN|1|Early repolarisation||||||C"
    assert b"|AA|" in decide("D1", "F")
    assert report()["status"] == "final"
    assert b"|AA|" in decide("D2", "C", said)
    told = report()
    assert (told["status"], told["meta"]["versionId"]) == ("corrected", "3")
    assert "Conclusion of Gregory House" in told["conclusion"]
    assert "Early repolarisation" in told["conclusion"]
    assert b"report-decided" in decide("D3", "F", by="ZZCANARY-8&Wilson")
    assert b"|AA|" in decide("D4", "X")
    assert report()["status"] == "entered-in-error"
    reasons = installation.run("dead-letters", "list", "--json").stdout
    assert "report-decided" in reasons
