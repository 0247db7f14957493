"""Reports sent back by ORU^R01: what an EHR's message decides, over a real listener and store."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from integration.fhir.reading import report_resource
from integration.hl7v2.ack import read_acknowledgement
from integration.hl7v2.client import MllpClient
from integration.hl7v2.decode import Kind, decode
from integration.hl7v2.report import Endpoints, encode_report
from integration.hl7v2.settings import MllpSettings
from integration.hl7v2.times import format_time
from integration.intake import Hl7Intake
from integration.listeners.mllp import serve_mllp
from integration.review import Reviews
from integration.senders import Sender, Senders

ENDS = Endpoints("EHR", "HOSP", "HISBUNDLE", "")
BY = "7&House&Gregory&&&&&&&1.2.3&ISO"
DECIDES = Sender("ehr", "ascii", None, decides=True)


@pytest.fixture
def exam_id(store, reported):
    return reported(store)


def sent(store, exam_id):
    """Our newest version as it goes out."""
    return encode_report(store.read_report(exam_id).bundle, ENDS).raw


def theirs(raw, status, *, by=BY, text=None, result=None, at="", name="E1", pid=None):
    """Our message as an EHR sends it back: other status, interpreter and impression."""
    out = []
    for line in raw.decode().split("\r")[:-1]:
        fields = line.split("|")
        if fields[0] == "MSH":
            fields[9] = name
        elif fields[0] == "PID" and pid is not None:
            fields[3] = pid
        elif fields[0] == "OBR":
            fields += [""] * (33 - len(fields))
            fields[22], fields[25], fields[32] = at, status, by
        elif fields[0] == "OBX":
            if text is not None and fields[3].startswith("8601-7"):
                continue
            fields[11] = result or status
        out.append("|".join(fields))
    if text:
        out.append(f"OBX|99|TX|8601-7^EKG impression^LN|99|{text}||||||{result or status}")
    return "".join(f"{line}\r" for line in out).encode()


def exchange(store, *messages, sender=DECIDES, reviews=True):
    """Send messages to a listener, each on its own connection; return the answers."""
    senders = Senders((), sender, closed=False)
    intake = Hl7Intake(store, None, senders, reviews=Reviews(store, None) if reviews else None)

    def ask(port):
        answers = []
        for message in messages:
            with MllpClient("127.0.0.1", port) as client:
                answers.append(read_acknowledgement(client.exchange(message)))
        return answers

    async def main():
        settings = MllpSettings(port=0)
        listener = await serve_mllp(settings, intake.answer, intake.refuse_connection)
        try:
            return await asyncio.to_thread(ask, listener.port)
        finally:
            await listener.stop()

    return asyncio.run(main())


def told(answers):
    return [(a.code, *(text.split(":")[0] for text in a.texts)) for a in answers]


def statuses(store, exam_id):
    return [version.status for version in reversed(store.versions_of(exam_id))]


def test_final_confirms_with_who_and_when(store, exam_id):
    moment = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)
    message = theirs(sent(store, exam_id), "F", at=format_time(moment))
    assert told(exchange(store, message)) == [("AA",)]
    newest, first = store.versions_of(exam_id)
    assert (newest.status, first.status, newest.actor) == ("final", "preliminary", "hl7v2:EHR^HOSP")
    by = newest.review.reviewer
    assert (by.system, by.value, by.name) == ("urn:oid:1.2.3", "7", "Gregory House")
    assert newest.review.at == moment
    assert store.status(datetime.now(UTC)).messages["not-ecg"] == 1


def test_a_time_that_only_copies_ours_is_not_when_it_was_decided(store, exam_id):
    issued = store.read_report(exam_id).issued_at
    exchange(store, theirs(sent(store, exam_id), "F", at=format_time(issued)))
    assert store.read_report(exam_id).review.at > issued + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"status": "C", "text": "Sinus rhythm"}, "amended", ": Sinus rhythm. The AI had said: "),
        ({"status": "X"}, "entered-in-error", "Rejected by Gregory House, "),
        ({"status": "W"}, "entered-in-error", "Rejected by Gregory House, "),
        ({"status": "C", "result": "W"}, "entered-in-error", "Rejected by Gregory House, "),
        (
            {"status": "X", "text": "Wrong patient", "result": "F"},
            "entered-in-error",
            ": Wrong patient.",
        ),
    ],
)
def test_corrections_and_withdrawals(store, exam_id, changed, status, words):
    message = theirs(sent(store, exam_id), **changed)
    assert told(exchange(store, message, message)) == [("AA",), ("AA",)]
    assert statuses(store, exam_id) == ["preliminary", status]
    assert words in report_resource(store.read_report(exam_id))["conclusion"]


def test_what_is_decided_once_is_not_decided_again_by_another_message(store, exam_id):
    first = sent(store, exam_id)
    decided = [
        theirs(first, "C", text="Sinus rhythm", name="E1"),
        theirs(first, "C", text="Flutter", name="E2"),
        theirs(first, "C", text="Sinus rhythm", name="E3"),  # late, under a new control id
    ]
    assert told(exchange(store, *decided)) == [("AA",)] * 3
    assert statuses(store, exam_id) == ["preliminary", "amended", "corrected"]
    assert "Flutter" in str(store.read_report(exam_id).bundle)


def test_our_own_versions_sent_back_make_no_version(store, exam_id):
    ours = [sent(store, exam_id)]
    for changed in ({"status": "F"}, {"status": "C", "text": "Flutter"}, {"status": "X"}):
        exchange(store, theirs(ours[0], **changed))
        ours.append(sent(store, exam_id))
        before = statuses(store, exam_id)
        assert told(exchange(store, *ours)) == [("AA",)] * len(ours)
        assert statuses(store, exam_id) == before
    assert before == ["preliminary", "final", "corrected", "entered-in-error"]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"status": "F", "by": ""}, "field-missing"),
        ({"status": "F", "by": "&House"}, "field-missing"),
        ({"status": "F", "text": "Flutter"}, "decision-malformed"),
        ({"status": "C", "text": ""}, "decision-malformed"),
        ({"status": "F", "pid": "0815^^^HOSP"}, "patient-disagrees"),
        ({"status": "F", "pid": ""}, "patient-missing"),
    ],
)
def test_what_is_uncertain_is_refused_and_changes_nothing(store, exam_id, changed, reason):
    message = theirs(sent(store, exam_id), **changed)
    assert told(exchange(store, message)) == [("AR", reason)]
    assert statuses(store, exam_id) == ["preliminary"]
    assert store.status(datetime.now(UTC)).messages["refused"] == 1


@pytest.mark.parametrize("id_", ["11111111-2222-5333-8444-555555555555", "4711"])
def test_an_unknown_report_is_refused(store, exam_id, id_):
    message = theirs(sent(store, exam_id), "F").replace(str(exam_id).encode(), id_.encode())
    assert told(exchange(store, message)) == [("AR", "report-unknown")]


def test_what_is_stale_is_refused(store, exam_id):
    first = sent(store, exam_id)
    withdrawn = theirs(first, "X", name="E1")
    answers = exchange(store, withdrawn, theirs(first, "F", name="E2"))
    assert told(answers) == [("AA",), ("AR", "report-decided")]


def test_only_who_may_decide_does(store, exam_id):
    message = theirs(sent(store, exam_id), "F")
    cart = Sender("cart", "ascii", None)
    assert told(exchange(store, message, sender=cart)) == [("AR", "decision-not-allowed")]
    assert statuses(store, exam_id) == ["preliminary"]
    # Once its entry says so, the same bytes do.
    assert told(exchange(store, message)) == [("AA",)]
    assert statuses(store, exam_id) == ["preliminary", "final"]


def test_an_archive_decides_nothing(store, exam_id):
    message = theirs(sent(store, exam_id), "F")
    assert told(exchange(store, message, reviews=False)) == [("AA",)]
    assert statuses(store, exam_id) == ["preliminary"]


@pytest.mark.parametrize("status", ["P", "R", "I", ""])
def test_what_is_not_final_decides_nothing(store, exam_id, status):
    decoded = decode(theirs(sent(store, exam_id), status))
    assert (decoded.kind, decoded.sent_back) == (Kind.REPORT, None)
    assert not decoded.clinical.results  # what the AI measured is no cart's


def test_one_report_a_message(store, exam_id):
    message = theirs(sent(store, exam_id), "F")
    twice = message + message[message.index(b"OBR|") :]
    assert told(exchange(store, twice)) == [("AR", "decision-malformed")]


def test_other_fillers_numbers_are_not_ours(store, exam_id):
    message = theirs(sent(store, exam_id), "F").replace(b"^HISBUNDLE", b"^CART")
    assert decode(message).kind is Kind.MEASUREMENTS
