"""What `hisbundle evaluate` does with a folder of the PhysioNet/CinC Challenge of 2017."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from integration.cli.progress import progress

if TYPE_CHECKING:
    from model.strip.challenge import ReadsBeats


def measure_challenge(
    detector: "ReadsBeats", data_path: Path, json_path: Path | None, plots: Path | None
) -> None:
    """Measure, print, and write the figures and the confusion where they were asked for."""
    from model.datasets import cinc2017  # noqa: PLC0415 (slow to import: only here)
    from model.strip.challenge import evaluate_cinc2017, plot_confusion  # noqa: PLC0415

    n_strips = len(cinc2017.load(data_path).records)
    with progress("reading strips", n_strips) as advance:
        figures = evaluate_cinc2017(detector, data_path, advance)
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        plot_confusion(figures, plots / "confusion.png")
    _print(figures)


def _print(figures: dict[str, Any]) -> None:
    counts = figures["strips"]
    click.echo(f"{figures['table']}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    for title, estimate in (
        ("mean F1 of N, A and O (the challenge's score)", figures["score_n_a_o"]),
        ("mean F1 of all four classes", figures["score_all_four"]),
        *((f"F1, {name}", estimate) for name, estimate in figures["f1"].items()),
        ("accuracy", figures["accuracy"]),
    ):
        interval = f"[{estimate['low']:.3f}, {estimate['high']:.3f}]"
        click.echo(f"{title:<48} {estimate['value']:.3f} {interval}")
    click.echo(f"{'accuracy of always saying the commonest class':<48} {figures['majority']:.3f}")
    click.echo("label \\ told " + "".join(f"{name:>7}" for name in counts))
    for name, row in figures["confusion"].items():
        click.echo(f"{name:<13}" + "".join(f"{n:>7}" for n in row.values()))
