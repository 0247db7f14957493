"""Progress of long commands: a bar on a terminal, a line every tenth elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Advance = Callable[[], None]


@contextmanager
def progress(title: str, total: int, console: Console | None = None) -> Iterator[Advance]:
    """Yield what to call after each of `total` steps; everything goes to standard error."""
    console = console or Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        # Results on standard output may be going to a file: they are not drawn into the bar.
        with Progress(
            *columns, _Rate(), TimeRemainingColumn(), console=console, redirect_stdout=False
        ) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)
    else:
        yield _Lines(title, total)


def by_ones(advance: Advance) -> Callable[[int], None]:
    """Return what to call after several steps at once."""

    def told(count: int) -> None:
        for _ in range(count):
            advance()

    return told


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Return how many a second."""
        return Text(f"{task.speed or 0:.1f}/s")


class _Lines:
    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.began = time.monotonic()

    def __call__(self) -> None:
        """Count, and say so after every tenth."""
        self.done += 1
        if self.done * 10 // self.total > (self.done - 1) * 10 // self.total:
            rate = self.done / max(time.monotonic() - self.began, 1e-9)
            left = f"{rate:.1f}/s, {(self.total - self.done) / rate:.0f} s left"
            click.echo(f"{self.title}: {self.done} of {self.total}, {left}", err=True)
