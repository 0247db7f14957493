import logging

from integration.logs import PlainFormatter


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
