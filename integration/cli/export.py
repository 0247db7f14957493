"""`hisbundle export`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from integration.cli.progress import progress

if TYPE_CHECKING:
    from model.datasets.ptbxl import PtbXl

VALIDATION_FOLDS = (9,)


@click.command()
@click.option(
    "--model-path",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="bundle folder; the graphs are written into it",
)
@click.option(
    "--data-path", type=click.Path(path_type=Path), help="PTB-XL folder, for a resting bundle"
)
def export(*, model_path: Path, data_path: Path | None) -> None:
    """Write a bundle's network as ONNX graphs for the runtime, if they agree with torch.

    Compared on PTB-XL fold 9, a strip bundle's on made-up beats. Prints the largest differences; a
    bundle that drifts is left as it was. Needs the package onnx (extra `train`).
    """
    from model.datasets import ptbxl  # noqa: PLC0415 (torch is slow to import: only here)
    from model.strip import release  # noqa: PLC0415
    from model.strip.card import is_strip  # noqa: PLC0415

    if is_strip(model_path):
        click.echo(json.dumps({"largest_drift": release.export(model_path)}))
        return
    if data_path is None:
        raise click.UsageError("a resting bundle is compared on PTB-XL: give --data-path")
    click.echo(json.dumps(with_graphs(model_path, ptbxl.load(data_path, VALIDATION_FOLDS))))


def with_graphs(folder: Path, data: "PtbXl") -> dict[str, Any]:
    """Write the graphs of a bundle folder if they agree with torch on `data`.

    Returns:
        How many ECGs were compared, and the largest differences.

    Raises:
        BundleError: `graph-drifts`, or the folder is not a sound bundle.
    """
    from model import export as exporting  # noqa: PLC0415 (torch is slow to import: only here)
    from model.datasets.ptbxl import millivolts  # noqa: PLC0415
    from model.signal import remove_baseline  # noqa: PLC0415

    ecgs = remove_baseline(millivolts(data.voltage_uv))
    with progress("comparing", len(ecgs)) as advance:
        drifts = exporting.export(folder, ecgs, advance)
    return {"ecgs": len(ecgs), "largest_drift": drifts}
