from io import StringIO

import pytest
from rich.console import Console

from integration.cli.progress import progress


@pytest.mark.parametrize(
    ("total", "told"),
    [
        (3, ["1 of 3", "2 of 3", "3 of 3"]),
        (20, [f"{n} of 20" for n in range(2, 21, 2)]),
        (1000, [f"{n} of 1000" for n in range(100, 1001, 100)]),
    ],
)
def test_every_tenth_is_told_without_a_terminal(total, told, capsys):
    with progress("work", total, Console(file=StringIO())) as advance:
        for _ in range(total):
            advance()
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert [line.partition(", ")[0] for line in lines] == [f"work: {line}" for line in told]
    assert all(line.endswith(" s left") for line in lines)
    assert captured.out == ""


def test_a_terminal_gets_a_bar():
    screen = StringIO()
    with progress("work", 2, Console(file=screen, force_terminal=True)) as advance:
        advance()
        advance()
    assert "work" in screen.getvalue()
    assert "2/2" in screen.getvalue()


def test_a_bar_leaves_standard_output_alone(capsys):
    screen = StringIO()
    with progress("work", 1, Console(file=screen, force_terminal=True)):
        print("result")  # noqa: T201
    assert capsys.readouterr().out == "result\n"
    assert "result" not in screen.getvalue()
