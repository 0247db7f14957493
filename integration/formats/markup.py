"""XML from outside: no DTD, no entities, no network, nothing huge.

Whatever could make a parser fetch, expand or nest is refused on the text itself, before libxml2
sees it (OWASP: XML external entities, entity expansion). A document type without declarations of
its own stays, because MUSE writes one; it is never loaded.
"""

import binascii
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from typing import Any, TypeAlias

from lxml import etree

from model.errors import EcgError

MAX_XML_BYTES = 16 * 1024 * 1024  # twelve leads at 1000 Hz for five minutes, as text
MAX_ELEMENTS = 100_000

Element: TypeAlias = Any  # lxml has no types

# What carts and archives write. Python's codecs of these names are those of XML.
_ENCODINGS = {"utf-8", "us-ascii", "ascii", "iso-8859-1", "iso-8859-15", "windows-1252", "utf-16"}
_DECLARED = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([\w.-]{1,20})["']""", re.ASCII)
# What an internal subset consists of. Nothing here looks ahead, so that no text makes it slow.
_FORBIDDEN = re.compile("<!(?:ENTITY|ATTLIST|ELEMENT|NOTATION)")


def parse_xml(content: bytes) -> Element:
    """Return the root element, without comments and processing instructions.

    Raises:
        EcgError: `file-too-large`, `xml-forbidden` (entities, internal DTD, encodings outside the
            list), `xml-malformed` (also nested beyond libxml2's limit).
    """
    if len(content) > MAX_XML_BYTES:
        raise EcgError("file-too-large", f"more than {MAX_XML_BYTES} bytes of XML")
    text = _text(content)
    if _FORBIDDEN.search(text):
        raise EcgError("xml-forbidden", "the document declares entities or its own DTD")
    if text.count("<") > 2 * MAX_ELEMENTS:
        raise EcgError("xml-forbidden", f"more than {MAX_ELEMENTS} elements")
    try:
        root = etree.fromstring(text.encode(), _parser())
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        # The parser's own words may quote the document.
        raise EcgError("xml-malformed", "the document is not well-formed XML") from None
    return root


def local_name(element: Element) -> str:
    """Return an element's name without its namespace."""
    return str(etree.QName(element).localname)


def text_at(element: Element, path: str) -> str:
    """Return the text of the first element at a path, in any namespace; "" where none is.

    Args:
        element: to start from.
        path: names of children, parted by `/`.
    """
    return str(element.findtext(in_any_namespace(path)) or "").strip()


def all_at(element: Element, path: str) -> list[Element]:
    """Return every element at a path, in any namespace."""
    return list(element.iterfind(in_any_namespace(path)))


def attribute_at(element: Element, path: str, name: str) -> str:
    """Return an attribute of the first element at a path, in any namespace; "" where none is."""
    found = element.find(in_any_namespace(path))
    return "" if found is None else str(found.get(name) or "").strip()


def in_any_namespace(path: str) -> str:
    """Return a path for lxml's `find`, whose names match in every namespace."""
    return "/".join(f"{{*}}{name}" for name in path.split("/"))


def _text(content: bytes) -> str:
    encoding = _encoding(content)
    if encoding not in _ENCODINGS:
        raise EcgError("xml-forbidden", "the document's encoding is none that ECG files use")
    try:
        text = content.decode(encoding)
    except UnicodeError:
        raise EcgError("xml-malformed", "the bytes are not of the declared encoding") from None
    return text.removeprefix("\ufeff")


def _encoding(content: bytes) -> str:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return "utf-16"
    if content.startswith(BOM_UTF8):
        return "utf-8"
    declared = _DECLARED.match(content[:1024])
    name = declared[1].decode().lower() if declared else "utf-8"
    # A document that was turned into another encoding keeps its old declaration; what could be read
    # as ASCII up to here is not UTF-16.
    return "utf-8" if name == "utf-16" else name


def _parser() -> Element:
    return etree.XMLParser(
        encoding="utf-8",  # whatever the declaration says: `parse_xml` has decoded already
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        collect_ids=False,
        remove_comments=True,
        remove_pis=True,
    )


def base64_bytes(text: str) -> bytes:
    """Return what base64 stands for; line breaks and blanks between its letters do not count.

    Raises:
        EcgError: `samples-malformed`, `samples-missing`.
    """
    try:
        content = binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError:
        raise EcgError("samples-malformed", "the samples are not base64") from None
    if not content:
        raise EcgError("samples-missing", "a lead holds no samples")
    return content
