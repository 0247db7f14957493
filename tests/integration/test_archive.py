import io
import json
import tarfile
from datetime import UTC, datetime

import numpy as np
import orjson
import pytest
import wfdb

from db.errors import StoreUnavailable
from db.records import BACKLOG, Lane, PatientRef
from db.store import Store
from integration.archive import Archive, Outcome, Patients, Told
from integration.errors import ConfigError
from integration.formats import DecodedEcg, Format
from integration.senders import Sender, Senders
from model.simulate import simulate
from tests.databases import new_database
from tests.fhir_observations import component, observation
from tests.hl7_messages import twelve, wcm

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVERYBODY = Senders((), Sender("", "ascii", None), closed=False)
PID = "PID|1||ZZCANARY-4711^^^HOSP^MR"
HL7 = wcm(*twelve("^".join("012" * 1000)), pid=PID)
IMPORTED, KNOWN = Told(Outcome.IMPORTED, ecgs=1), Told(Outcome.KNOWN)


@pytest.fixture
def store(tmp_path):
    url = new_database(tmp_path / "test.db")
    store = Store.open(url)
    store.receive_as(Lane(BACKLOG))
    yield store
    store.close()


def archive(store, patients=None):
    return Archive(store, EVERYBODY, patients or Patients({}), clock=lambda: NOW)


def taken(archive, *files, must_be_ecg=True):
    for file in files:
        archive.take(file, must_be_ecg=must_be_ecg)
    return archive.told()


def record(folder, name="r1"):
    samples = np.sin(np.arange(2000) / 20)[:, None] * [1.0, 0.5]
    options = {"fs": 200, "units": ["mV"] * 2, "sig_name": ["I", "II"], "fmt": ["16"] * 2}
    wfdb.wrsamp(name, p_signal=samples, write_dir=str(folder), **options)
    return folder / f"{name}.hea"


def reasons(told):
    return [(one.outcome, one.reason) for one in told]


def test_messages_of_a_file_are_taken_as_if_they_had_been_sent(store, tmp_path):
    file = tmp_path / "old.hl7"
    other = HL7.replace(b"4711", b"4712")
    file.write_bytes(HL7 + HL7 + other + b"MSH|broken\r")
    told = taken(archive(store), file)
    assert told[:3] == [IMPORTED, KNOWN, IMPORTED]
    assert told[3].outcome == Outcome.REFUSED
    assert taken(archive(store), file)[:3] == [KNOWN] * 3
    assert store.backlog_waiting() == 2


def test_a_batch_is_taken_message_by_message_or_refused_whole(store, tmp_path):
    file = tmp_path / "batch.hl7"
    file.write_bytes(b"BHS|^~\\&|A\r" + HL7 + b"BTS|1\r")
    assert taken(archive(store), file) == [IMPORTED]
    file.write_bytes(b"BHS|^~\\&|A\r" + HL7 + b"BTS|2\r")
    told = taken(archive(store), file)
    assert reasons(told) == [(Outcome.REFUSED, "batch-count-mismatch")]


def transactions(store, monkeypatch, fails=lambda _incoming: False):
    """Return the sizes of the transactions that follow, where some messages cannot be stored."""
    sizes, accept_all = [], store.accept_all

    def seen(incoming, *, rung=False):
        sizes.append(len(incoming))
        if any(map(fails, incoming)):
            raise StoreUnavailable("store-unavailable", "DataError")
        return accept_all(incoming, rung=rung)

    monkeypatch.setattr(store, "accept_all", seen)
    return sizes


def people(folder, *numbers):
    """Write a message a file."""
    for n in numbers:
        path = folder / f"{n}.hl7"
        path.write_bytes(HL7.replace(b"4711", b"%d" % n))
        yield path


def test_messages_share_transactions_whatever_files_they_come_in(store, tmp_path, monkeypatch):
    monkeypatch.setattr("integration.archive._MAX_WAITING", 4)
    sizes = transactions(store, monkeypatch)
    many = tmp_path / "many.hl7"
    bad = b"MSH|broken\r"
    many.write_bytes(HL7 + HL7.replace(b"4711", b"1") + bad + HL7 + HL7.replace(b"4711", b"2"))
    told = taken(archive(store), many, *people(tmp_path, 3, 4))
    assert sizes == [4, 3]
    assert [one.outcome for one in told[:4]] == ["imported", "imported", "refused", "known"]
    assert told[4:] == [IMPORTED] * 3


def test_a_transaction_holds_so_many_bytes(store, tmp_path, monkeypatch):
    monkeypatch.setattr("integration.archive._MAX_WAITING_BYTES", 2 * len(HL7))
    sizes = transactions(store, monkeypatch)
    assert taken(archive(store), *people(tmp_path, *range(5))) == [IMPORTED] * 5
    assert max(sizes) <= 2


def test_one_that_cannot_be_stored_spoils_none_before_it(store, tmp_path, monkeypatch):
    monkeypatch.setattr("integration.archive._MAX_WAITING", 4)
    transactions(store, monkeypatch, lambda one: b"ZZCANARY-3" in one.message.raw)
    with pytest.raises(StoreUnavailable):
        taken(archive(store), *people(tmp_path, 1, 2, 3, 4))
    assert store.backlog_waiting() == 2
    monkeypatch.undo()
    told = taken(archive(store), *people(tmp_path, 1, 2, 3, 4))
    assert told == [KNOWN, KNOWN, IMPORTED, IMPORTED]


def test_fhir_resources_come_from_a_file_of_one_and_from_lines(store, tmp_path):
    one = observation([component("I", range(2500))])
    two = observation([component("II", range(2500))])
    single, lines = tmp_path / "one.json", tmp_path / "bulk.ndjson"
    single.write_text(json.dumps(one, indent=2))
    assert taken(archive(store), single) == [IMPORTED]
    patient = {"resourceType": "Patient", "id": "1"}
    content = [orjson.dumps(resource) for resource in (patient, two)]
    lines.write_bytes(b"\n".join([*content, b"{not json"]))
    told = taken(archive(store), lines)
    assert sorted(reasons(told)) == [(Outcome.IMPORTED, None), (Outcome.REFUSED, "json-malformed")]
    assert store.backlog_waiting() == 2


def test_a_wfdb_record_is_whose_somebody_says_it_is(store, tmp_path):
    header = record(tmp_path)
    told = taken(archive(store), header)
    assert reasons(told) == [(Outcome.REFUSED, "patient-missing")]
    table = tmp_path / "patients.csv"
    table.write_text("file,identifier,authority\nr1,ZZCANARY-1,HOSP\n")
    told = taken(archive(store, Patients.read(table)), header)
    assert told == [IMPORTED]
    (exam_id,) = store.claim_waiting_exams(NOW, 9, backlog=True)
    exam = store.load_exam(exam_id)
    assert exam.patient == PatientRef("ZZCANARY-1", "HOSP")
    assert exam.ecg.leads == ("I", "II")
    kept = store.message_raw(exam.message_id)
    assert b"r1.hea" in kept
    assert header.with_suffix(".dat").read_bytes() in kept


def test_a_table_may_name_folders(store, tmp_path):
    """Carts and MIMIC-IV-ECG have the same file names in one folder a patient or study."""
    table = tmp_path / "patients.csv"
    table.write_text(
        "file,identifier\np1/r1.hea,ZZCANARY-1\nfiles/p2/r1,ZZCANARY-2\nr1,ZZCANARY-3\n"
    )
    patients = Patients.read(table)
    read = DecodedEcg(simulate("normal", seed=1), Format.WFDB)
    for folder, patient in (("files/p1", 1), ("files/p2", 2), ("p2", 3), ("p3", 3)):
        whose = patients.of(tmp_path / folder / "r1.hea", read)
        assert whose.identifier == f"ZZCANARY-{patient}"


def test_a_name_of_files_in_several_folders_is_no_answer(tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("file,identifier\nr1,ZZCANARY-1\np2/r1,ZZCANARY-2\n")
    patients = Patients.read(table)
    patients.check(
        [tmp_path / "p1" / "r1.hea", tmp_path / "p2" / "r1.hea", tmp_path / "p3" / "x.hea"]
    )
    with pytest.raises(ConfigError, match="patients-unusable"):
        patients.check([tmp_path / "p1" / "r1.hea", tmp_path / "p3" / "r1.hea"])
    Patients({}).check([tmp_path / "p1" / "r1.hea", tmp_path / "p3" / "r1.hea"])


def test_a_record_may_have_a_long_name(store, tmp_path):
    named = Patients({}, named_by_file=True)
    header = record(tmp_path, "r" * 120)
    assert taken(archive(store, named), header) == [IMPORTED]
    assert taken(archive(store, named), header) == [KNOWN]
    (exam_id,) = store.claim_waiting_exams(NOW, 9, backlog=True)
    kept = io.BytesIO(store.message_raw(store.load_exam(exam_id).message_id))
    with tarfile.open(fileobj=kept) as tar:
        assert tar.getnames() == [header.name, header.with_suffix(".dat").name]


def test_a_record_is_the_same_wherever_it_lies(store, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    named = Patients({}, named_by_file=True)
    headers = [record(tmp_path / name) for name in "ab"]
    told = [taken(archive(store, named), header) for header in headers]
    assert told == [[IMPORTED], [KNOWN]]


def test_a_file_that_contradicts_the_table_is_refused(store, tmp_path, monkeypatch):
    file = tmp_path / "a.xml"
    file.write_text("<html/>")
    assert taken(archive(store), file, must_be_ecg=False) == []
    told = taken(archive(store), file)
    assert reasons(told) == [(Outcome.REFUSED, "not-ecg-xml")]
    told = taken(archive(store), tmp_path / "missing.dcm")
    assert reasons(told) == [(Outcome.REFUSED, "file-missing")]


def test_a_dry_run_stores_nothing_and_says_the_same(store, tmp_path):
    file = tmp_path / "old.hl7"
    file.write_bytes(HL7 + b"MSH|broken\r")
    dry = taken(archive(None), file)
    assert store.backlog_waiting() == 0
    assert taken(archive(store), file) == dry


@pytest.mark.parametrize(
    "table",
    ["a,b\n1,2\n", "file,identifier\nx,\n", "file,identifier\nx,1\nx,2\n", "file,identifier\n\0"],
)
def test_a_table_that_leaves_questions_is_refused(tmp_path, table):
    path = tmp_path / "patients.csv"
    path.write_text(table)
    with pytest.raises(ConfigError) as caught:
        Patients.read(path)
    assert caught.value.reason == "patients-unusable"
