"""`hisbundle train`."""

import json
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from integration.cli import strip
from integration.cli.export import with_graphs
from integration.cli.progress import Advance, progress
from model.errors import BundleError

if TYPE_CHECKING:
    from model.datasets.ptbxl import PtbXl
    from model.resting.training import Progress

TRAINING_FOLDS, VALIDATION_FOLDS = tuple(range(1, 9)), (9,)
NAME, VERSION = "resting", "1.1.0"
DEFAULT_EPOCHS = 24
DEFAULT_CACHE = Path.home() / ".cache" / "hisbundle"


@click.command()
@click.option(
    "--model",
    type=click.Choice(["resting", "strip"]),
    default="resting",
    show_default=True,
    help="12 leads, or beats and rhythm of strips",
)
@click.option(
    "--data-path",
    type=click.Path(path_type=Path),
    required=True,
    help="PTB-XL folder; for strips a folder with mitdb, nstdb and ptbxl100",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    help=f"passes over the data  [default: {DEFAULT_EPOCHS}, strips {strip.DEFAULT_EPOCHS}]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of every draw")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="settings, metrics, curves and checkpoints go here [default: runs/MODEL-SEED]",
)
@click.option("--resume", is_flag=True, help="continue the run in --run-dir")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, file_okay=False),
    help="where the finished model goes [default: RUN_DIR/bundle]",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_CACHE,
    help="keeps the samples in one file for the next run [default: ~/.cache/hisbundle]",
)
def train(
    *,
    model: str,
    data_path: Path,
    epochs: int | None,
    seed: int,
    run_dir: Path | None,
    resume: bool,
    bundle: Path | None,
    cache: Path,
) -> None:
    """Train the resting 12-lead network: PTB-XL folds 1-8, validated on fold 9; or the strip model.

    Uses a GPU where there is one. Every epoch is kept; --resume goes on after the last one. Where
    the extra `train` is installed, the finished bundle also gets its ONNX graphs. The strip model
    needs that extra; its finished networks are kept, and --resume trains those that are missing.
    """
    run_dir = run_dir or Path("runs") / f"{model}-{seed}"
    if model == "strip":
        strip.train_strip(
            data_path,
            epochs=epochs or strip.DEFAULT_EPOCHS,
            seed=seed,
            run_dir=run_dir,
            resume=resume,
            bundle=bundle or run_dir / "bundle",
            cache=cache,
        )
        return
    epochs = epochs or DEFAULT_EPOCHS
    from model.bundle import save_bundle  # noqa: PLC0415 (torch is slow to import: only here)
    from model.datasets import ptbxl  # noqa: PLC0415
    from model.plots import training_curves  # noqa: PLC0415
    from model.resting import freeze, training  # noqa: PLC0415
    from model.resting.settings import Settings  # noqa: PLC0415

    learn = ptbxl.load(data_path, TRAINING_FOLDS, cache)
    check = ptbxl.load(data_path, VALIDATION_FOLDS, cache)
    settings = Settings(epochs=epochs, seed=seed)
    with _EpochBars() as bars:
        network = training.train(
            learn,
            check,
            settings,
            run_dir,
            resume=resume,
            on_step=bars.step,
            on_epoch=lambda figures: click.echo(json.dumps(figures)),
        )
    history = training.history(run_dir)
    training_curves(history, run_dir / "curves.png")
    command = f"hisbundle train --data-path DIR --epochs {epochs} --seed {seed}"
    run = freeze.Run(command, settings, history)
    release = freeze.release_of(NAME, VERSION, learn, check, run)
    frozen = freeze.freeze(network, learn, check, release)
    target = bundle or run_dir / "bundle"
    save_bundle(target, frozen)
    click.echo(f"{target}: {NAME} {VERSION}, weights {frozen.identity.sha256}")
    _add_graphs(target, check)


def _add_graphs(bundle: Path, data: "PtbXl") -> None:
    """A finished training is not lost when there can be no graphs: the bundle runs on torch."""
    if find_spec("onnx") is None:
        click.echo("no ONNX graphs: install the extra `train`, then hisbundle export", err=True)
        return
    try:
        click.echo(json.dumps(with_graphs(bundle, data)))
    except BundleError as error:
        click.echo(f"no ONNX graphs: {error}", err=True)


class _EpochBars:
    """One bar an epoch."""

    def __init__(self) -> None:
        self._bars = ExitStack()
        self._advance: Advance | None = None

    def __enter__(self) -> "_EpochBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def step(self, at: "Progress") -> None:
        if self._advance is None:
            title = f"epoch {at.epoch + 1} of {at.epochs}"
            self._advance = self._bars.enter_context(progress(title, at.steps))
        self._advance()
        if at.step == at.steps:
            self._bars.close()
            self._advance = None
