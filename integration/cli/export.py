"""`hisbundle export`."""

import json
from pathlib import Path

import click

from integration.cli.progress import progress

VALIDATION_FOLDS = (9,)


@click.command()
@click.option(
    "--model-path",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="bundle folder; the graphs are written into it",
)
@click.option("--data-path", type=click.Path(path_type=Path), required=True, help="PTB-XL folder")
def export(*, model_path: Path, data_path: Path) -> None:
    """Write a bundle's network as ONNX graphs for the runtime, if they agree with torch.

    Compared on PTB-XL fold 9. Prints the largest differences; a bundle that drifts is left as it
    was. Needs the package onnx (extra `train`).
    """
    from model import export as exporting  # noqa: PLC0415 (torch is slow to import: only here)
    from model.datasets import ptbxl  # noqa: PLC0415
    from model.signal import remove_baseline  # noqa: PLC0415

    data = ptbxl.load(data_path, VALIDATION_FOLDS)
    ecgs = remove_baseline(ptbxl.millivolts(data.voltage_uv))
    with progress("comparing", len(ecgs)) as advance:
        drifts = exporting.export(model_path, ecgs, advance)
    click.echo(json.dumps({"ecgs": len(ecgs), "largest_drift": drifts}))
