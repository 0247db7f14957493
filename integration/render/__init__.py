"""The page a clinician reads: the ECG on paper at true scale, what was found, and where."""

from integration.render.page import Sheet, sheets
from integration.render.pdf import as_pdf
from integration.render.svg import as_svg

__all__ = ["Sheet", "as_pdf", "as_svg", "sheets"]
