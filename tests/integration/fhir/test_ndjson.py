import io

import orjson

from integration.fhir.ndjson import batches_of, lines_of
from tests.fhir_observations import component, observation

ECG = observation([component("I", [1, 2, 3])])


def test_lines():
    one = orjson.dumps(ECG)
    content = b"\n".join([one, b"", b"{", b"x" * 9000, b"[1]", b"  " + one + b"\r"])
    found = list(lines_of(io.BytesIO(content), max_line_bytes=4096))
    assert [(line.number, line.refused and line.refused.reason) for line in found] == [
        (1, None),
        (3, "json-malformed"),
        (4, "message-too-large"),
        (5, "json-malformed"),
        (6, None),
    ]
    assert found[0].resource == found[4].resource == orjson.loads(one)
    assert found[4].raw == one
    assert found[2].raw == b"x" * 4096


def test_a_line_of_just_the_limit():
    one = orjson.dumps(ECG)
    for ending in (b"", b"\n", b"\n" + one):
        found = list(lines_of(io.BytesIO(one + ending), max_line_bytes=len(one)))
        assert [line.refused for line in found] == [None] * len(found)
        assert len(found) == (2 if len(ending) > 1 else 1)


def test_a_long_line_is_never_read_whole():
    class Counting(io.BytesIO):
        largest = 0

        def readline(self, size=-1):
            line = super().readline(size)
            self.largest = max(self.largest, len(line))
            return line

    stream = Counting(b"x" * 1_000_000 + b"\n" + orjson.dumps(ECG))
    found = list(lines_of(stream, max_line_bytes=10_000))
    assert [line.number for line in found] == [1, 2]
    assert stream.largest <= 10_001


def test_resources_are_batched_and_parts_of_one_ecg_stay_together(monkeypatch):
    monkeypatch.setattr("integration.fhir.ndjson._BATCH", 2)
    parts = [ECG | {"effectiveDateTime": at} for at in ("2026-01-01", *["2026-01-02"] * 3)]
    after = [{"resourceType": "Patient"}] * 3  # of no moment
    content = b"\n".join([*map(orjson.dumps, [*parts, *after]), b"{"])
    *bundles, last = batches_of(lines_of(io.BytesIO(content)))
    assert last == b"{" or b"{" in bundles
    whole = [orjson.loads(b)["entry"] for b in [*bundles, last] if b != b"{"]
    assert [len(entries) for entries in whole] == [4, 2, 1]
    assert whole[0][0]["request"] == {"method": "POST", "url": "Observation"}
