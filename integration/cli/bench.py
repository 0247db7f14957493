"""`hisbundle bench`: one command a thing to measure."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from integration.cli.bench_fhir import fhir
from integration.cli.bench_kafka import kafka
from integration.cli.bench_mllp import mllp, numbers
from integration.cli.progress import progress
from integration.cli.recordings import recordings
from integration.formats import read_ecgs
from model.ecg import Ecg
from model.simulate import KINDS, simulate

MAX_BATCH, MAX_THREADS = 256, 64


@click.group()
def bench() -> None:
    """Measure how fast this machine is."""


bench.add_command(kafka)
bench.add_command(mllp)
bench.add_command(fhir)


@bench.command()
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="bundle folder [default: the shipped one]"
)
@click.option(
    "--batch",
    default="1,8,32",
    show_default=True,
    callback=numbers(MAX_BATCH),
    help="ECGs at once",
)
@click.option(
    "--threads",
    default="1,2",
    show_default=True,
    callback=numbers(MAX_THREADS),
    help="threads of the network",
)
@click.option(
    "--repeat", type=click.IntRange(1, 10_000), default=50, show_default=True, help="calls of each"
)
@click.option("--json", "as_json", is_flag=True, help="print all figures as JSON")
def model(
    *,
    model_path: Path | None,
    batch: tuple[int, ...],
    threads: tuple[int, ...],
    repeat: int,
    as_json: bool,
) -> None:
    """Time the network: eager torch against the shipped runtime, and the steps around it.

    ECGs are simulated: 12 leads, 10 s, 500 Hz. Milliseconds an ECG, median and best.
    """
    from model import bench as benching  # noqa: PLC0415 (torch is slow to import: only here)
    from model.resting.card import SHIPPED, load_resting  # noqa: PLC0415

    plan = benching.Plan(batch, threads, repeat)
    with progress("measuring", plan.n_steps) as advance:
        figures = benching.bench(load_resting(model_path or SHIPPED), plan, advance)
    numbers = [",".join(map(str, part)) for part in (batch, threads)]
    command = f"hisbundle bench model --batch {numbers[0]} --threads {numbers[1]} --repeat {repeat}"
    figures = {"command": command, **figures}
    if as_json:
        click.echo(json.dumps(figures, indent=2))
    else:
        _print(figures)


@bench.command()
@click.argument("count", type=click.IntRange(1, 10**9))
@click.option(
    "--resume",
    "file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="JSON file of the counts; where it exists, the soak goes on from there",
)
@click.option(
    "--data-path",
    type=click.Path(path_type=Path, exists=True),
    help="folder of recordings, each read once before the simulated ECGs",
)
@click.option(
    "--model-path", type=click.Path(path_type=Path), help="bundle folder [default: the shipped one]"
)
def soak(*, count: int, file: Path, data_path: Path | None, model_path: Path | None) -> None:
    """Score COUNT ten-second ECGs, counted; killed and begun again it goes on.

    Gate, filter, network and calibration of one process, as in a worker; 12 leads, 100 Hz, no two
    ECGs alike.
    """
    from model.detector import Detector  # noqa: PLC0415 (loads ONNX Runtime)
    from model.soak import soak as soaking  # noqa: PLC0415

    paths = [path for path, must_be in recordings([data_path]) if must_be] if data_path else []
    with progress("soak", count) as advance:
        told = soaking(
            Detector.load(model_path),
            _real_then_simulated(paths),
            count,
            file,
            source={"real": len(paths), "simulated": "the rest"},
            on_ecg=advance,
        )
    click.echo(json.dumps(told))


def _real_then_simulated(paths: list[Path]) -> Callable[[int], Ecg]:
    def ecg_of(number: int) -> Ecg:
        if number < len(paths):
            return read_ecgs(paths[number])[0].ecg
        return simulate(KINDS[number % len(KINDS)], seed=number, sampling_rate_hz=100.0)

    return ecg_of


def _print(figures: dict[str, Any]) -> None:
    console = Console()
    about = figures["machine"]
    console.print(f"{about['cpu']}, {about['cores']} cores, {', '.join(about['flags'])}")
    network = _table("Network", "threads", "batch", "eager", "shipped", "time saved")
    for row in figures["network"]:
        saved = f"{row['time_saved']['median']:.0%} ({row['time_saved']['best']:.0%})"
        times = (_cell(row[name]) for name in ("eager", "shipped"))
        network.add_row(str(row["threads"]), str(row["batch"]), *times, saved)
    console.print(network)
    steps = figures["steps"]
    for title, rows in (
        (f"One thread, {steps['batch']} ECGs at once", steps),
        ("Findings with explanation, one ECG", figures["findings_with_explanation"]),
        ("Baselines, eager, one ECG", figures["baselines"]),
    ):
        table = _table(title, "", "time")
        for name, times in rows.items():
            if isinstance(times, dict):
                table.add_row(name, _cell(times))
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"{title}: milliseconds an ECG, median (best)", title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "" else "right")
    return table


def _cell(times: dict[str, float]) -> str:
    return f"{times['median_ms']:.2f} ({times['best_ms']:.2f})"
