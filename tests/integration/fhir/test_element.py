import pytest

from integration.errors import Refused
from integration.fhir.element import MAX_ITEMS, Element, blamed_on
from model.errors import EcgError


@pytest.fixture
def element():
    value = {"o": {"x": 1}, "l": [{"a": 1}, {"a": 2}], "t": " words ", "n": 1.5, "z": None}
    return Element(value, "Observation")


def test_children_know_their_place(element):
    assert element.child("o").path == "Observation.o"
    assert [item.path for item in element.items("l")] == ["Observation.l[0]", "Observation.l[1]"]
    assert (element.text("t"), element.number("n")) == ("words", 1.5)


def test_what_is_missing_is_empty(element):
    assert element.child("none") is None
    assert element.items("none") == []
    assert element.text("none") == ""
    assert element.number("none") is None
    assert "none" not in element


@pytest.mark.parametrize(
    ("accessor", "value"),
    [
        ("child", []),
        ("child", "x"),
        ("items", {}),
        ("items", [1]),
        ("items", [None]),
        ("items", [{}] * (MAX_ITEMS + 1)),
        ("text", 1),
        ("text", ["x"]),
        ("number", "1"),
        ("number", True),
        ("number", {}),
    ],
)
def test_what_is_of_another_type_is_refused_where_it_stands(accessor, value):
    with pytest.raises(Refused) as caught:
        getattr(Element({"it": value}, "Patient"), accessor)("it")
    assert (caught.value.reason, caught.value.expression) == ("field-malformed", "Patient.it")


@pytest.mark.parametrize("error", [EcgError("unit-unknown", "words"), Refused("unit-unknown", "w")])
def test_what_others_refuse_gets_its_place(error):
    with pytest.raises(Refused) as caught, blamed_on("Observation.code"):
        raise error
    assert (caught.value.reason, caught.value.expression) == ("unit-unknown", "Observation.code")


def test_a_place_that_is_known_stays():
    with pytest.raises(Refused) as caught, blamed_on("outer"):
        raise Refused("unit-unknown", "words", expression="inner")
    assert caught.value.expression == "inner"


def test_repr_tells_nothing_of_the_content():
    assert "ZZCANARY" not in repr(Element({"value": "ZZCANARY"}, "Patient"))
