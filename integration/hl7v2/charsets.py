"""Character sets: MSH-18 (HL7 table 0211) and switches inside texts (HL7 v2.5.1, 2.7.2).

Most sets leave ASCII bytes alone, so a message is cut at its delimiters first and decoded a text at
a time. In the others a byte that looks like a delimiter may be half of a character; such a message
is put into UTF-8 as a whole before anything is cut.
"""

import re
from collections.abc import Iterator, Sequence

from integration.errors import Refused

BOM = b"\xef\xbb\xbf"

# Table 0211 and spellings met in the field, without punctuation -> Python codec.
_CODECS = {
    **dict.fromkeys(("ASCII", "USASCII", "ISOIR6"), "ascii"),
    **dict.fromkeys(("UNICODEUTF8", "UTF8", "ISOIR192"), "utf-8"),
    "ISOIR100": "iso8859-1",
    "ISOIR101": "iso8859-2",
    "ISOIR109": "iso8859-3",
    "ISOIR110": "iso8859-4",
    "ISOIR144": "iso8859-5",
    "ISOIR127": "iso8859-6",
    "ISOIR126": "iso8859-7",
    "ISOIR138": "iso8859-8",
    "ISOIR148": "iso8859-9",
    **{
        f"{prefix}8859{part}": f"iso8859-{part}"
        for prefix in ("", "ISO", "UNICODE")
        for part in (*range(1, 10), 15)
    },
    **{f"{name}{page}": f"cp{page}" for name in ("CP", "WINDOWS") for page in range(1250, 1259)},
    **dict.fromkeys(("GB180302000", "GB18030"), "gb18030"),
    **dict.fromkeys(("BIG5", "BIGFIVE"), "big5"),
    **dict.fromkeys(("KSX1001", "KSC5601"), "cp949"),  # Windows' superset of EUC-KR
    **dict.fromkeys(("ISOIR14", "ISOIR13", "ISOIR87", "ISOIR159"), "iso2022_jp_ext"),
    **dict.fromkeys(("SHIFTJIS", "SJIS"), "cp932"),
    # UTF-16 is known by its bytes, whatever MSH-18 says. What calls itself Unicode and is not
    # UTF-16 can only be UTF-8, and is refused where its bytes are not.
    **dict.fromkeys(("UNICODE", "UNICODEUTF16", "UTF16"), "utf-8"),
}
# Codecs whose characters may hold the bytes of delimiters.
OPAQUE_CODECS = ("gb18030", "big5", "iso2022_jp_ext", "cp932")

_WIDE_STARTS = {
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"M\0S\0H\0": "utf-16-le",
    b"\0M\0S\0H": "utf-16-be",
}
# What follows ESC, in hex, in \Cxxyy\ and \Mxxyyzz\ -> (codec, what the codec needs before it).
# None: back to the message's own set.
_SWITCHES: dict[bytes, tuple[str, bytes] | None] = {
    b"2842": None,
    b"284A": ("iso2022_jp_ext", b"\x1b(J"),
    b"2949": ("iso2022_jp_ext", b""),
    b"2440": ("iso2022_jp_ext", b"\x1b$@"),
    b"2442": ("iso2022_jp_ext", b"\x1b$B"),
    b"242844": ("iso2022_jp_ext", b"\x1b$(D"),
    b"242943": ("euc_kr", b""),
    b"242941": ("gb2312", b""),
    **{
        b"2D%02X" % final: (f"iso8859-{part}", b"")
        for part, final in zip((*range(1, 10), 15), b"ABCDLGFHMb", strict=True)
    },
}
_KANA = re.compile(rb"([\xa1-\xdf]+)")  # JIS X 0201, its right half


def codec_for(charset: str, default: str) -> str:
    """Return the Python codec for one repetition of MSH-18.

    Raises:
        Refused: `charset-unsupported`.
    """
    key = "".join(c for c in charset.upper() if c.isalnum())
    if not key:
        return default
    if key not in _CODECS:
        raise Refused("charset-unsupported", f"MSH-18 names {charset[:32]!r}", ("MSH", 1, 18))
    return _CODECS[key]


def default_codec(raw: bytes, configured: str) -> str:
    """Return the codec of a message whose MSH-18 is empty: a byte order mark says UTF-8."""
    return "utf-8" if raw.startswith(BOM) or is_wide(raw) else configured


def is_wide(raw: bytes) -> bool:
    """Tell whether a message comes in UTF-16."""
    return raw.startswith(tuple(_WIDE_STARTS))


def narrow(raw: bytes) -> bytes:
    """Return a message in UTF-16 as UTF-8, any other as it is, without what may precede MSH.

    Raises:
        Refused: `charset-undecodable`.
    """
    codec = next((c for start, c in _WIDE_STARTS.items() if raw.startswith(start)), None)
    if codec:
        raw = decoded(raw, codec).encode()
    return raw.removeprefix(BOM).lstrip(b" \t\r\n")


def readable(raw: bytes, charsets: Sequence[str], default: str, escape: bytes) -> tuple[bytes, str]:
    """Return a message that can be cut at its delimiters, and the codec of its texts.

    Args:
        raw: as it came.
        charsets: the repetitions of MSH-18: the message's own set, then those it may switch to.
        default: codec where the first repetition is empty.
        escape: from MSH-2, or b"".

    Raises:
        Refused: `charset-unsupported`; `charset-undecodable`, with its place.
    """
    own, *others = charsets or [""]
    codec = "utf-8" if is_wide(raw) else codec_for(own, default_codec(raw, default))
    body = narrow(raw)
    if b"\x1b" in body and "iso2022_jp_ext" in {codec_for(other, codec) for other in others}:
        codec = "iso2022_jp_ext"  # MSH-20 says ISO 2022-1994: escape sequences as they are
    # MSH-2 holds the escape character; most messages hold no second one, and looking for one byte
    # is many times faster than looking for a pattern.
    if escape and body.find(escape, body.find(escape) + 1) > 0:
        switch = _switch_pattern(escape)
        if switch.search(body):
            return "".join(_switched(body, codec, switch)).encode(), "utf-8"
    if codec in OPAQUE_CODECS:
        return decoded(body, codec).encode(), "utf-8"
    decoded(body, codec)
    return body, codec


def decoded(data: bytes, codec: str) -> str:
    """Return bytes as text.

    Raises:
        Refused: `charset-undecodable`, with the place when the bytes are a message.
    """
    try:
        if codec == "iso2022_jp_ext" and not data.isascii():
            return "".join(_japanese(data))
        return data.decode(codec)
    except UnicodeDecodeError as error:
        detail = f"byte {error.start} does not belong to the message's character set"
        place = _place(data, error.start) if len(error.object) == len(data) else ()
        raise Refused("charset-undecodable", detail, place) from None


def _japanese(data: bytes) -> Iterator[str]:
    """Yield the parts of a text that has half-width kana in one byte beside escape sequences."""
    for index, part in enumerate(_KANA.split(data)):
        yield part.decode("cp932" if index % 2 else "iso2022_jp_ext")


def _switch_pattern(escape: bytes) -> re.Pattern[bytes]:
    mark, codes = re.escape(escape), b"|".join(_SWITCHES)
    return re.compile(mark + b"[CM](" + codes + b")" + mark, re.IGNORECASE)


def _switched(body: bytes, own: str, switch: re.Pattern[bytes]) -> Iterator[str]:
    """Yield the parts of a message between switches; a segment's end goes back to its own set."""
    for line in body.replace(b"\n", b"\r").split(b"\r"):
        first, *rest = switch.split(line)
        yield decoded(first, own)
        for code, part in zip(rest[::2], rest[1::2], strict=True):
            codec, needed = _SWITCHES[code.upper()] or (own, b"")
            yield decoded(needed + part, codec)
        yield "\r"


def _place(message: bytes, at: int) -> tuple[str, int, int] | tuple[()]:
    """Return the segment, its number and the field where a byte of a message stands."""
    lines = message[:at].replace(b"\n", b"\r").split(b"\r")
    start, separator = lines[-1], message[3:4]
    if message[:3] != b"MSH" or len(start) < 4 or start[3:4] != separator:
        return ()
    ordinal = sum(line.startswith(start[:3]) for line in lines)
    field = start.count(separator) + (start[:3] == b"MSH")
    return start[:3].decode("latin-1"), ordinal, field
