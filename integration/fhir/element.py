"""An element of a FHIR resource that knows its place, so that every refusal can point at it.

JSON from outside may hold anything anywhere; each accessor refuses what is not of its type.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from integration.errors import Refused
from integration.fhir.codes import Json
from model.errors import EcgError

MAX_ITEMS = 4096  # of one list; no resource with an ECG comes near


@dataclass(frozen=True)
class Element:
    """A JSON object and its FHIRPath.

    Attributes:
        value: the object.
        path: such as `Observation.component[3].valueSampledData`.
    """

    value: Json = field(repr=False)
    path: str

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def at(self, name: str) -> str:
        """Return the path of a child, whether it is there or not."""
        return f"{self.path}.{name}"

    def refusal(self, reason: str, detail: str, name: str = "") -> Refused:
        """Return a refusal that points here, or at a child."""
        return Refused(reason, detail, expression=self.at(name) if name else self.path)

    def child(self, name: str) -> "Element | None":
        """Return an element that appears at most once.

        Raises:
            Refused: `field-malformed`.
        """
        value = self.value.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refusal("field-malformed", "an object is expected", name)
        return Element(value, self.at(name))

    def items(self, name: str) -> "list[Element]":
        """Return the elements of a list; none where it is missing.

        Raises:
            Refused: `field-malformed`.
        """
        values = self.value.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or len(values) > MAX_ITEMS:
            raise self.refusal("field-malformed", "a list of a sane length is expected", name)
        if not all(isinstance(value, dict) for value in values):
            raise self.refusal("field-malformed", "a list of objects is expected", name)
        return [Element(value, f"{self.at(name)}[{n}]") for n, value in enumerate(values)]

    def text(self, name: str) -> str:
        """Return a string without the blanks around it; "" where it is missing.

        Raises:
            Refused: `field-malformed`.
        """
        value = self.value.get(name, "")
        if not isinstance(value, str):
            raise self.refusal("field-malformed", "a string is expected", name)
        return value.strip()

    def number(self, name: str) -> float | None:
        """Return a number; None where it is missing.

        Raises:
            Refused: `field-malformed`.
        """
        value = self.value.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal("field-malformed", "a number is expected", name)
        return float(value)


@contextmanager
def blamed_on(path: str) -> Iterator[None]:
    """Make what is refused inside, by code that knows no FHIR, point at `path`.

    Raises:
        Refused: with the reason of the error inside.
    """
    try:
        yield
    except Refused as error:
        if error.expression:
            raise
        raise Refused(error.reason, error.detail, expression=path) from None
    except EcgError as error:
        raise Refused(error.reason, error.detail, expression=path) from None
