"""What `hisbundle train` and `hisbundle evaluate` do with the strip model."""

import json
from pathlib import Path
from typing import Any

import click

from integration.cli.challenge import measure_challenge
from integration.cli.progress import progress

DEFAULT_EPOCHS = 12


def train_strip(
    data_path: Path,
    *,
    epochs: int,
    seed: int,
    run_dir: Path,
    resume: bool,
    bundle: Path,
    cache: Path,
) -> None:
    """Train folds, networks and AF model, and write the bundle."""
    from model.bundle import save_bundle  # noqa: PLC0415 (torch is slow to import: only here)
    from model.strip.building import build  # noqa: PLC0415
    from model.strip.settings import Settings  # noqa: PLC0415

    settings = Settings(epochs=epochs, seed=seed)
    built = build(data_path, run_dir, settings, resume=resume, cache=cache, tell=click.echo)
    save_bundle(bundle, built)
    click.echo(f"{bundle}: {built.card.name} {built.card.version}, {built.identity.sha256}")


def evaluate_strip(
    model_path: Path, data_path: Path, json_path: Path | None, plots: Path | None
) -> None:
    """Measure a strip bundle; print, and write where asked for.

    `data_path` holds WFDB records with `.atr` beside them, or the challenge of 2017.
    """
    from model.datasets import cinc2017  # noqa: PLC0415 (slow to import: only here)
    from model.datasets.mitbih import record_names  # noqa: PLC0415
    from model.strip.detector import StripDetector  # noqa: PLC0415
    from model.strip.evaluate import evaluate_folder  # noqa: PLC0415
    from model.strip.figures import finite  # noqa: PLC0415

    detector = StripDetector.load(model_path)
    if cinc2017.has_labels(data_path):
        measure_challenge(detector, data_path, json_path, plots)
        return
    with progress("reading recordings", len(record_names(data_path))) as advance:
        measured = evaluate_folder(detector, data_path, advance)
    figures = {
        "command": "hisbundle evaluate --model-path STRIP_BUNDLE --data-path DIR",
        "model": vars(detector.identity),
        **measured,
    }
    if json_path is not None:
        content = json.dumps(finite(figures), indent=1) + "\n"
        json_path.write_text(content, encoding="utf-8")
    _print(figures)


def _print(figures: dict[str, Any]) -> None:
    click.echo(
        f"{figures['records']} records of {figures['patients']} patients, as far as they are named,"
        f" {figures['hours']:.1f} h; "
        f"{figures['cpu_seconds_an_hour']:.1f} s of one core an hour of signal"
    )
    for reason, names in figures["left_out"].items():
        click.echo(f"left out, {reason}: {' '.join(names)}")
    if figures["trained_on"]:
        click.echo(f"the model learned from {len(figures['trained_on'])} of these: no measurement")
    for name in figures["persons_known"]:
        click.echo(f"{name} is of a person that the model learned from")
    for title in (title for title in figures if ", " in title):
        measured = figures[title]
        click.echo(f"\n{title} R peaks and escape beats")
        click.echo(f"{'accuracy of always N':<40} {measured['majority_accuracy']:.4f}")
        for name, estimate in measured.items():
            if isinstance(estimate, dict) and "low" in estimate:
                interval = f"[{estimate['low']:.4f}, {estimate['high']:.4f}]"
                click.echo(f"{name.replace('_', ' '):<40} {estimate['value']:.4f} {interval}")
        click.echo("\n".join(measured["table"]))
    anomaly = figures["anomaly_auroc"]
    click.echo(f"\nAUROC of the anomaly score, not N against N: {anomaly['value']:.4f}")
