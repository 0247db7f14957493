import time

import pytest

from integration.formats.markup import (
    MAX_ELEMENTS,
    MAX_XML_BYTES,
    all_at,
    attribute_at,
    local_name,
    parse_xml,
    text_at,
)
from model.errors import EcgError

SMALL = '<a xmlns="urn:x"><!-- é --><b k=" v "> t\u00e9xt </b><b/><?p i?></a>'


def reason(content):
    with pytest.raises(EcgError) as refused:
        parse_xml(content)
    return refused.value.reason


def test_elements_are_found_in_any_namespace():
    for text in (SMALL, SMALL.replace(' xmlns="urn:x"', "")):
        root = parse_xml(text.encode())
        assert (local_name(root), len(root)) == ("a", 2)
        assert (text_at(root, "b"), attribute_at(root, "b", "k")) == ("t\u00e9xt", "v")
        assert (text_at(root, "b/c"), attribute_at(root, "c", "k"), all_at(root, "c")) == (
            "",
            "",
            [],
        )


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("", "utf-8"),
        ("", "utf-8-sig"),
        ('<?xml version="1.0" encoding="UTF-8"?>', "utf-8"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', "latin-1"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
        ('<?xml version="1.0" encoding="utf-16"?>', "utf-8"),  # turned into UTF-8 on the way
    ],
)
def test_encodings_that_ecg_files_use(declared, codec):
    assert text_at(parse_xml((declared + SMALL).encode(codec)), "b") == "t\u00e9xt"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "xml-malformed"),
        (b"<a>", "xml-malformed"),
        (b"<a/><b/>", "xml-malformed"),
        (b"<a>\xff</a>", "xml-malformed"),
        (b"<a>&nothing;</a>", "xml-malformed"),
        (b"<a>\0</a>", "xml-malformed"),
        ("<a>\ud800</a>".encode("utf-16", "surrogatepass"), "xml-malformed"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "xml-forbidden"),
        (b'<?xml version="1.0" encoding="ebcdic-cp-us"?><a/>', "xml-forbidden"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "xml-forbidden"),
        (
            b'<!DOCTYPE a SYSTEM ">" [<!ENTITY x SYSTEM "file:///etc/hostname">]><a/>',
            "xml-forbidden",
        ),
        (b'<!DOCTYPE a [<!ATTLIST a k CDATA "v">]><a/>', "xml-forbidden"),
        (b"<a>" + b"<!DOCTYPE" * 150_000, "xml-malformed"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'.encode("utf-16"), "xml-forbidden"),
        (b"<a>" + b"<b/>" * (2 * MAX_ELEMENTS) + b"</a>", "xml-forbidden"),
        (b"<a>" * 60_000 + b"</a>" * 60_000, "xml-malformed"),
        (b"<a>" + b" " * MAX_XML_BYTES + b"</a>", "file-too-large"),
        (b"<a>" + b"x" * (MAX_XML_BYTES - 10) + b"</a>", "xml-malformed"),
        (b"<a " + b"".join(b"k%d='' " % i for i in range(200_000)) + b"/>", None),
    ],
    ids=range(19),
)
def test_what_is_not_plain_xml_is_refused_at_once(content, expected):
    start = time.process_time()
    if expected is None:
        parse_xml(content)
    else:
        assert reason(content) == expected
    assert time.process_time() - start < 1


def test_a_document_type_without_a_subset_is_not_loaded(tmp_path):
    (tmp_path / "t.dtd").write_text('<!ENTITY x "loaded">')
    text = f'<!DOCTYPE a SYSTEM "{tmp_path}/t.dtd"><a><b>{{}}</b></a>'
    assert text_at(parse_xml(text.format("1").encode()), "b") == "1"
    assert text_at(parse_xml(text.format("&x;").encode()), "b") == ""


def test_the_parsers_words_do_not_quote_the_document():
    with pytest.raises(EcgError) as refused:
        parse_xml(b"<a><PatientID>4711</Name></a>")
    assert "4711" not in str(refused.value)
    assert "PatientID" not in str(refused.value)
    assert refused.value.__suppress_context__
