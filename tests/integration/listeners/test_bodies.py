"""Reading of bodies; how refusals are told is tested with `fhir_in`."""

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from integration.listeners import bodies
from integration.listeners.bodies import Bodies


def request(*messages, declared=None):
    left = iter(messages)

    async def receive():
        return next(left)

    headers = [] if declared is None else [(b"content-length", declared)]
    return Request({"type": "http", "headers": headers}, receive)


def piece(content, *, more=True):
    return {"type": "http.request", "body": content, "more_body": more}


def read(reader, asked):
    async def run():
        async with reader.read(asked) as found:
            return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (request(piece(b"ab"), piece(b"c", more=False)), (b"abc", 3)),
        (request(piece(b"ab"), piece(b"cd"), piece(b"e")), (b"abcd", 4)),  # the fifth is not read
        (request(piece(b"a"), piece(b"b"), declared=b"200000000"), (b"a", 200_000_000)),
        (request(piece(b"a", more=False), declared="²".encode("latin-1")), (b"a", 1)),
    ],
)
def test_what_is_read(asked, found):
    reader = Bodies(3)
    assert read(reader, asked) == found
    assert reader.too_large(found[1]) == (found[1] > 3)


def test_a_turn_comes_back_however_it_ends(monkeypatch):
    monkeypatch.setattr(bodies, "_AT_ONCE", 1)
    monkeypatch.setattr(bodies, "_PATIENCE_S", 0.05)
    reader = Bodies(3)

    async def run():
        for _ in range(3):
            with pytest.raises(HTTPException) as caught:
                async with reader.read(request({"type": "http.disconnect"})):
                    pass
            assert caught.value.status_code == 400
        async with reader.read(request(piece(b"a", more=False))):
            with pytest.raises(HTTPException) as caught:
                async with reader.read(request()):
                    pass
        assert caught.value.status_code == 503

    asyncio.run(run())
