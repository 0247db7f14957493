"""The resources of one body, and references between them (R4, bundle.html#references).

Nothing outside the body is ever fetched: a reference that leads out of it leads nowhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from integration.errors import ConfigError
from integration.fhir.codes import Json
from integration.fhir.element import Element


@dataclass(frozen=True)
class Entry:
    """A resource and the names it goes by.

    Attributes:
        resource: with its place.
        kind: resourceType.
        names: its fullUrl and `kind/id`.
        request: of its entry in a Bundle, if that has one.
        base: URL of the server that its fullUrl is of, or "".
    """

    resource: Element
    kind: str
    names: frozenset[str] = field(repr=False)
    request: Element | None = field(default=None, repr=False)
    base: str = field(default="", repr=False)


class Resources:
    """The resources of a Bundle, or one that came alone."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Take the entries in their order."""
        self.entries = tuple(entries)
        self._by_name: dict[str, list[Entry]] = {}
        self._bases = {id(entry.resource.value): entry.base for entry in entries}
        for entry in entries:
            for name in entry.names:
                self._by_name.setdefault(name, []).append(entry)

    def find(self, reference: str, container: Element) -> Entry | None:
        """Return what a reference in `container` points at, if that is certain and here.

        Args:
            reference: `#contained`, `Type/id`, a URL or `urn:uuid:`; a version is not looked at.
            container: the resource it stands in, for what that contains.
        """
        if reference.startswith("#"):
            held = [one for one in container.items("contained") if one.text("id") == reference[1:]]
            return _entry(held[0]) if len(held) == 1 else None
        # A URL is another server's resource unless an entry has it as its own; what is relative is
        # of the server that its container is of, where that is told.
        found = self._by_name.get(reference.partition("/_history/")[0], [])
        if ":" not in reference and (base := self._bases.get(id(container.value))):
            found = [entry for entry in found if entry.base in ("", base)]
        return found[0] if len(found) == 1 else None


def alone(resource: Json) -> Resources:
    """Return a body that is one resource; its places begin with its type."""
    return Resources([_entry(Element(resource, str(resource.get("resourceType"))))])


def bundled(bundle: Element) -> Resources:
    """Return the resources of a Bundle, whose places begin at the Bundle.

    Raises:
        Refused: `bundle-malformed`, `field-malformed`.
    """
    entries = []
    for item in bundle.items("entry"):
        resource = item.child("resource")
        if resource is None:
            raise item.refusal("bundle-malformed", "an entry without a resource", "resource")
        entries.append(_entry(resource, item.text("fullUrl"), item.child("request")))
    return Resources(entries)


def referred(resources: Resources, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield what these entries refer to, directly or over others, each once and not themselves."""
    seen, waiting = {id(e.resource.value) for e in entries}, list(entries)
    while waiting:
        entry = waiting.pop()
        for reference in references(entry.resource.value):
            found = resources.find(reference, entry.resource)
            if found is not None and id(found.resource.value) not in seen:
                seen.add(id(found.resource.value))
                waiting.append(found)
                yield found


def references(node: object) -> Iterator[str]:
    """Yield every reference and attachment URL in a resource."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            stack.extend(node.values())
            yield from (v for k in ("reference", "url") if isinstance(v := node.get(k), str))


def report_and_results(bundle: Json) -> tuple[Json, list[Json]]:
    """Return the DiagnosticReport of a Bundle of ours and its Observations, in their order.

    Raises:
        ConfigError: `report-malformed`: the Bundle has no DiagnosticReport.
    """
    by_url = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    report = next((r for r in by_url.values() if r["resourceType"] == "DiagnosticReport"), None)
    if report is None:
        raise ConfigError("report-malformed", "the stored Bundle has no DiagnosticReport")
    return report, [by_url[reference["reference"]] for reference in report["result"]]


def _entry(resource: Element, full_url: str = "", request: Element | None = None) -> Entry:
    kind, id_ = resource.text("resourceType"), resource.text("id")
    if not kind:
        raise resource.refusal("json-malformed", "no resourceType", "resourceType")
    name = f"{kind}/{id_}" if id_ else ""
    base = full_url.removesuffix(f"/{name}") if name and full_url.endswith(f"/{name}") else ""
    return Entry(resource, kind, frozenset(filter(None, (full_url, name))), request, base)
