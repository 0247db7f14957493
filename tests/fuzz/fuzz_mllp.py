"""Coverage-guided fuzzing from the socket's bytes to the committed message: `make fuzz`.

Every mutated input goes through the framer and the intake into a real SQLite database. What must
hold: nothing is raised, nothing takes long or much memory, every block is answered, and whatever
is answered AA or CA is in the database, byte for byte. libFuzzer writes what breaks that to a file
`crash-*`; give the file as argument to see it again.
"""

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["integration", "db.clinical", "db.records", "model.ecg"]):
    from db.migrate import upgrade
    from db.store import Store
    from integration.config import Settings
    from integration.hl7v2.ack import read_acknowledgement
    from integration.hl7v2.framing import Frame, Framer, frame
    from integration.intake import Hl7Intake
    from integration.senders import Peer, senders_of
    from tests.hl7_messages import generic, twelve, wcm

TARGET_BYTES = int(os.environ.get("FUZZ_BYTES", "12_000_000"))
MAX_INPUT = 4096
PEER = Peer("127.0.0.1")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOKENS = [
    r"MSH|^~\\&|",
    r"ORU^R01^ORU_R01",
    r"ORU^W01",
    r"ADT^A01",
    r"ADT^A02",
    r"ORM^O01",
    r"BHS|",
    r"FHS|",
    r"BTS|",
    r"FTS|",
    r"OBX|1|NA|",
    r"OBX|2|NM|",
    r"OBX|1|ED|",
    r"OBX|1|MA|",
    r"OBX|1|CD|",
    r"PV1|1|I|ICU^1^2",
    r"PID|1||4711^^^HOSP^MR",
    r"&TIM",
    r"&CHN",
    r"&WAV",
    r"131329^MDC_ECG_ELEC_POTL_I^MDC",
    r"0^MDC_ATTR_SAMP_RATE",
    r"2327^MDC_ATTR_NU_MSMT_RES",
    r"8859/1",
    r"BIG-5",
    r"UTF-8",
    r"\x0b",
    r"\x1c\x0d",
    r"\x1b$B",
    r"^application^pdf^Base64^",
    r"^Base64^",
    r"20260301120000+0100",
]


class Recording:
    """The store, and what it has said yes to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.kept: dict[bytes, object] = {}

    def accept(self, incoming, **options):
        receipt = self._store.accept(incoming, **options)
        self.kept[incoming.message.raw] = receipt.message_id
        return receipt

    def holds(self, raw: bytes) -> bool:
        return raw in self.kept and self._store.message_raw(self.kept[raw]) == raw


class Target:
    """One database for the whole run."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder / 'fuzz.db'}"
        upgrade(url)
        self._store = Recording(Store.open(url))
        self._intake = Hl7Intake(
            self._store, None, senders=senders_of(Settings()), clock=lambda: NOW
        )
        self._fed = 0
        self._runs = 0

    def one(self, data: bytes) -> None:
        """Take one input, cut into two reads."""
        self._fed += len(data)
        self._runs += 1
        self._store.kept.clear()
        framer = Framer(MAX_INPUT // 2)
        cut = data[0] % (len(data) + 1) if data else 0
        blocks = [*framer.feed(data[:cut]), *framer.feed(data[cut:]), *framer.close(), Frame(data)]
        for block in blocks:
            self._check(block, self._intake.answer(block, PEER))
        if self._fed >= TARGET_BYTES:
            sys.stdout.write(f"fuzz: {self._runs} inputs, {self._fed} bytes, nothing broke\n")
            sys.stdout.flush()
            os._exit(0)

    def _check(self, block, reply: bytes) -> None:
        for answer in Framer(2**20).feed(frame(reply)) if reply else []:
            text = answer.payload
            if text[:3] in (b"BHS", b"FHS"):
                continue  # its messages were answered, and checked, one by one
            if read_acknowledgement(text).code in ("AA", "CA") and isinstance(block, Frame):
                assert self._store.holds(block.payload), "acknowledged, but not kept"


def seeds(folder: Path) -> None:
    """Write messages of every shape to begin with."""
    whole = wcm(*twelve())
    msh = b"MSH|^~\\&|ADT|WARD|HIS|HOSP|2026||ADT^A02|A1|P|2.5\r"
    adt = msh + b"EVN|A02|2026\rPID|1||4711\rPV1|1|I|ICU^1\r"
    tim, channel = "TS|1&TIM^I||20260102030405", "CD|1&CHN^I||1&I^^0.005&mV^^500^-1000&1000"
    shapes = (
        whole,
        adt,
        generic(tim, channel, "NA|1&WAV^I||0^1^-2"),
        b"BHS|^~\\&|A|B|C|D|2026||||B1\r" + adt + whole + b"BTS|2\r",
        wcm("ED|93000^EKG^C4||^application^pdf^Base64^JVBERi0x", "NM|8867-4^HR^LN||72|/min"),
        wcm("ED|93000^EKG^C4||^text^xml^Base64^PEFubm90YXRlZEVDRy8+"),
    )
    for n, raw in enumerate(shapes):
        (folder / f"{n}").write_bytes(raw)
        (folder / f"{n}f").write_bytes(frame(raw))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        seeds(corpus)
        (folder / "tokens").write_text("".join(f'"{t}"\n' for t in TOKENS))
        limits = ("-timeout=5", "-rss_limit_mb=1024", f"-max_len={MAX_INPUT}", "-len_control=0")
        again = sys.argv[1:] or [str(corpus)]
        options = [
            sys.argv[0],
            f"-dict={folder / 'tokens'}",
            *limits,
            "-print_final_stats=1",
            *again,
        ]
        atheris.Setup(options, Target(folder).one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
