"""FHIR XML to the JSON it is equivalent to (R4, xml.html), for R4, R4B and R5; and back.

XML does not tell a list of one from a single value, nor a number from a string, so both are looked
up in the models of fhir.resources. On the way
in they serve as dictionaries only; nothing is validated with them.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import import_module
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from lxml import etree

from integration.errors import Refused, as_refused
from integration.fhir.codes import Json
from integration.formats.markup import parse_xml
from model.errors import EcgError

NAMESPACE = "http://hl7.org/fhir"
MAX_DEPTH = 64
_XHTML = "http://www.w3.org/1999/xhtml"
# R4B first: R5 adds what it does not know, and changes little of what ECGs need.
_RELEASES = ("fhir.resources.R4B", "fhir.resources")
_ATTRIBUTES = ("id", "url")  # of an element; elements of their own in JSON
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MAX_DIGITS = 19  # what is longer is no integer of JSON's readers and writers, but a float
_BOOLEANS = {"true": True, "false": False}

_Node = Any  # lxml has no types


@dataclass(frozen=True)
class _Shape:
    """What a type says of an element of its own.

    Attributes:
        listed: whether JSON has a list.
        type: name of its type, or Python's type of a primitive.
    """

    listed: bool
    type: str | type


def is_xml(raw: bytes) -> bool:
    """Whether a body is XML; JSON cannot begin like this."""
    return raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


def resource_of_xml(raw: bytes) -> Json:
    """Return the resource as JSON.

    Raises:
        Refused: `xml-malformed`, `xml-forbidden` (entities, a DTD, too many elements),
            `file-too-large`, `resource-unsupported`, `field-malformed`.
    """
    try:
        root = parse_xml(raw)
    except EcgError as error:
        raise as_refused(error) from None
    kind = _name(root, "Resource")[:64]
    return _resource(root, kind, kind, 0)


def xml_of(resource: Json) -> bytes | None:
    """Return a resource as XML, or None where it has no such form.

    Our own have one. What others sent may be valid for no release, or hold what XML cannot.
    """
    for release in _RELEASES:
        with suppress(ValueError):  # pydantic's and lxml's are some
            model = import_module(release).get_fhir_model_class(resource["resourceType"])
            made: str | bytes = model.model_validate(resource).model_dump_xml()
            return made if isinstance(made, bytes) else made.encode()
    return None


def _resource(node: _Node, kind: str, path: str, depth: int) -> Json:
    if not _shapes(kind):
        raise Refused("resource-unsupported", "an unknown resource", expression=path)
    return {"resourceType": kind} | _object(node, kind, path, depth)


def _object(node: _Node, kind: str, path: str, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise Refused("xml-forbidden", f"nested deeper than {MAX_DEPTH}", expression=path)
    known = _shapes(kind)
    made: Json = {name: str(node.get(name)) for name in _ATTRIBUTES if node.get(name) is not None}
    for name, children in _by_name(node, path):
        place = f"{path}.{name}"
        if name == "div":
            made[name] = etree.tostring(children[0], encoding="unicode", with_tail=False)
            continue
        if name not in known:
            raise Refused("field-malformed", "an unknown element", expression=place)
        if len(children) > 1 and not known[name].listed:
            raise Refused("field-malformed", "it may appear only once", expression=place)
        made |= _elements(name, children, known[name], place, depth)
    return made


def _elements(
    name: str, children: list[_Node], shape: _Shape, path: str, depth: int
) -> dict[str, Any]:
    """Return the members of JSON that an element makes; a primitive has its extensions beside."""
    places = [f"{path}[{n}]" if shape.listed else path for n in range(len(children))]
    pairs = list(zip(children, places, strict=True))
    made: dict[str, list[Any]]
    if isinstance(shape.type, str):
        kind = shape.type
        made = {name: [_complex(child, kind, place, depth + 1) for child, place in pairs]}
    else:
        values = [_value(child, shape.type, place) for child, place in pairs]
        besides = [_beside(child, place, depth + 1) for child, place in pairs]
        made = {name: values} if any(v is not None for v in values) else {}
        made |= {f"_{name}": besides} if any(besides) else {}
    return made if shape.listed else {key: members[0] for key, members in made.items()}


def _complex(node: _Node, kind: str, path: str, depth: int) -> Json:
    if kind != "Resource":
        return _object(node, kind, path, depth)
    if len(node) != 1:
        raise Refused("field-malformed", "one resource is expected", expression=path)
    return _resource(node[0], _name(node[0], path), path, depth)


def _beside(node: _Node, path: str, depth: int) -> Json | None:
    """Return id and extensions of a primitive."""
    if not len(node) and node.get("id") is None:
        return None
    return _object(node, "Element", path, depth)


def _value(node: _Node, type_: type, path: str) -> object:
    if node.get("value") is None:
        return None
    text = str(node.get("value"))
    if type_ is bool:
        if text not in _BOOLEANS:
            raise Refused("field-malformed", "true or false is expected", expression=path)
        return _BOOLEANS[text]
    if type_ not in (int, Decimal):
        return text
    if _NUMBER.fullmatch(text):
        if len(text) < _MAX_DIGITS and text.removeprefix("-").isdecimal():
            return int(text)
        number = float(text)
        if number - number == 0:  # neither infinite nor NaN
            return number
    raise Refused("field-malformed", "a number is expected", expression=path)


def _by_name(node: _Node, path: str) -> Iterator[tuple[str, list[_Node]]]:
    found: dict[str, list[_Node]] = {}
    for child in node:
        found.setdefault(_name(child, path), []).append(child)
    yield from found.items()


def _name(node: _Node, path: str) -> str:
    name = etree.QName(node)
    if name.namespace != NAMESPACE and (name.namespace, name.localname) != (_XHTML, "div"):
        raise Refused("xml-malformed", "an element that is not FHIR's", expression=path)
    return str(name.localname)


@cache
def _shapes(kind: str) -> dict[str, _Shape]:
    """Return the elements of a type; none: no such type."""
    shapes: dict[str, _Shape] = {}
    for release in _RELEASES:
        try:
            model = import_module(release).get_fhir_model_class(kind)
        except ValueError:
            continue
        for name, field in model.model_fields.items():
            alias = field.alias or name
            if not alias.startswith(("_", "fhir_", "resource_")):
                shapes.setdefault(alias, _shape(field.annotation))
    return shapes


def _shape(annotation: Any) -> _Shape:  # noqa: ANN401 - of any kind
    listed = False
    while (origin := get_origin(annotation)) is not None:
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in (Union, UnionType):
            annotation = next(one for one in get_args(annotation) if one is not type(None))
        else:
            listed, annotation = True, get_args(annotation)[0]
    name = annotation.__name__
    return _Shape(listed, name.removesuffix("Type") if name.endswith("Type") else annotation)
