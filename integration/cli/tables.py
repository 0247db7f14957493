"""What commands list on standard output: texts as they are, ids whole at any width."""

from rich import box
from rich.console import Console
from rich.table import Column, Table

_ID_LENGTH = 36  # of a UUID
_NO_SCREEN = 1000  # columns where nobody sees an edge


def screen() -> Console:
    """Return standard output for what others may have written.

    Nothing in it is taken for markup or emoji, and where it is no terminal, nothing is folded.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _NO_SCREEN)
    return console


def listing(*titles: str, ids: str = "id") -> Table:
    """Return an empty table: the column called as `ids` says is never cut, the others fold."""
    columns = (_ids(one) if one == ids else Column(one, overflow="fold") for one in titles)
    # Lines between columns would take the room that an id leaves on a terminal of 80.
    return Table(
        *columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )


def _ids(title: str) -> Column:
    return Column(title, no_wrap=True, min_width=_ID_LENGTH)
