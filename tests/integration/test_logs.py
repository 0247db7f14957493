import json
import logging
from uuid import UUID

from integration.logs import JsonFormatter, PlainFormatter, error_once, traced


def line(**fields):
    record = logging.makeLogRecord(
        {"name": "x", "levelname": "INFO", "msg": "exam id=%s", "args": ("7",)} | fields
    )
    return PlainFormatter().format(record)


def test_one_line_an_event_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert line(created=0.0, msecs=5) == "1970-01-01T00:00:00.005Z INFO x exam id=7"


def test_an_exceptions_text_is_never_told():
    try:
        int("DOE^JOHN")
    except ValueError as error:
        text = line(exc_info=(ValueError, error, error.__traceback__))
    assert "DOE" not in text
    assert "ValueError" in text
    assert f"{__file__}:" in text


def test_nor_what_another_formatter_made_of_it():
    try:
        int("DOE^JOHN")
    except ValueError as error:
        record = logging.makeLogRecord({"exc_info": (ValueError, error, error.__traceback__)})
    assert "DOE" in logging.Formatter().format(record)
    assert "DOE" not in PlainFormatter().format(record)


def test_while_an_ecg_is_at_work_each_line_carries_its_id():
    with traced(UUID(int=7)):
        assert line().endswith(f" exam id=7 trace={UUID(int=7)}")
    assert line().endswith(" exam id=7")


def test_as_json_the_pairs_become_fields():
    record = logging.makeLogRecord(
        {
            "name": "worker.pipeline",
            "levelname": "WARNING",
            "msg": "delivery put off id=%s answer=%s",
            "args": ("7", 'Gerät "busy" now'),
            "created": 0.0,
            "msecs": 5,
        }
    )
    with traced(UUID(int=7)):
        text = JsonFormatter().format(record)
    assert json.loads(text) == {
        "time": "1970-01-01T00:00:00.005Z",
        "level": "WARNING",
        "logger": "worker.pipeline",
        "event": "delivery put off",
        "fields": {"id": "7", "answer": 'Gerät "busy" now'},
        "trace": "00000000-0000-0000-0000-000000000007",
    }


def test_as_json_an_exceptions_text_is_never_told_and_all_stays_on_one_line():
    try:
        int("DOE^JOHN")
    except ValueError as error:
        record = logging.makeLogRecord(
            {"msg": "a\nb", "exc_info": (ValueError, error, error.__traceback__)}
        )
    text = JsonFormatter().format(record)
    assert "DOE" not in text
    assert "\n" not in text
    told = json.loads(text)
    assert (told["event"], told["fields"]) == ("a\nb", {})
    assert told["exception"][0].strip() == "ValueError"


def test_what_is_met_again_and_again_is_logged_once(caplog):
    log = logging.getLogger("worker.x")
    for id_ in (UUID(int=7), UUID(int=8), UUID(int=7)):
        error_once(log, "not told id=%s", id_)
    assert [record.args[0].int for record in caplog.records] == [7, 8]
