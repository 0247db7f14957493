"""The page a clinician reads: the ECG on paper at true scale, what was found, and where."""

from db.records import Assessed
from integration.render.page import Sheet, sheets
from integration.render.pdf import as_pdf
from integration.render.svg import as_svg

__all__ = ["Sheet", "as_pdf", "as_svg", "page_of", "sheets"]


def page_of(assessed: Assessed) -> bytes:
    """Return the PDF of a version of a report; the same version gives the same bytes."""
    return as_pdf(sheets(assessed))
