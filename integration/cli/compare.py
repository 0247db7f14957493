"""`hisbundle replay compare`: scoring again by another model, side by side."""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import click

from db.filters import parse_filter
from integration.cli.access import needs
from integration.cli.database import opened
from integration.cli.progress import progress
from integration.cli.tables import listing, screen
from integration.comparison import Compared, compared
from integration.replay import matching_exams
from integration.security.roles import Role

_BUNDLE = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("filter_", metavar="FILTER")
@click.option("--model-path", type=_BUNDLE, help="bundle of the other resting model")
@click.option("--strip-model-path", type=_BUNDLE, help="bundle of the other strip model")
@click.option("--limit", default=1000, show_default=True, help="newest ECGs to compare")
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@needs(Role.OPERATOR)
def compare(
    *,
    filter_: str,
    model_path: Path | None,
    strip_model_path: Path | None,
    limit: int,
    as_json: bool,
) -> None:
    """Score ECGs by another model and show what it would say otherwise; nothing is stored."""
    from model.assessor import Assessor  # noqa: PLC0415 - help stays quick

    if model_path is None and strip_model_path is None:
        raise click.UsageError("give --model-path or --strip-model-path")
    found = parse_filter(filter_)
    with opened() as (settings, store):
        assessor = Assessor.load(
            model_path or settings.model_path,
            strip_model_path or settings.strip_model_path,
            operating_point=settings.operating_point,
        )
        ids = [exam.id for exam in islice(matching_exams(store, found), limit)]
        told: list[Compared] = []
        with progress("compare", max(len(ids), 1)) as advance:
            for one in compared(store, assessor, ids):
                advance()
                told += [one] if one else []
    if as_json:
        click.echo(json.dumps(_plain(told, len(ids))))
    else:
        _print(told, len(ids))


def _plain(told: Sequence[Compared], selected: int) -> dict[str, object]:
    return {
        "compared": len(told),
        "passed_over": selected - len(told),
        "models": sorted({_models(one) for one in told}),
        "gained": Counter(code for one in told for code in one.gained),
        "lost": Counter(code for one in told for code in one.lost),
        "changed": [
            {
                "id": str(one.id),
                "gained": one.gained,
                "lost": one.lost,
                "scorable": [one.before.quality.scorable, one.after.quality.scorable],
                "anomaly": [one.before.anomaly_score, one.after.anomaly_score],
                "types": {
                    t.code: [_probability(one, t.code), t.probability] for t in one.after.types
                },
            }
            for one in told
            if one.changed
        ],
        "largest_shift": max((one.largest_shift for one in told), default=0.0),
    }


def _print(told: Sequence[Compared], selected: int) -> None:
    console = screen()
    table = listing("ECG", "now flagged", "no longer", "anomaly", "largest shift", ids="ECG")
    for one in (one for one in told if one.changed):
        scores = (one.before.anomaly_score, one.after.anomaly_score)
        shown = ["-" if score is None else f"{score:.2f}" for score in scores]
        gained, lost = " ".join(one.gained), " ".join(one.lost)
        table.add_row(str(one.id), gained, lost, " -> ".join(shown), f"{one.largest_shift:.2f}")
    if table.row_count:
        console.print(table)
    for models in sorted({_models(one) for one in told}):
        console.print(models)
    for words, codes in (
        ("now flagged", (code for one in told for code in one.gained)),
        ("no longer", (code for one in told for code in one.lost)),
    ):
        counts = ", ".join(f"{code} {n}" for code, n in Counter(codes).most_common())
        console.print(f"{words}: {counts or 'none'}")
    console.print(
        f"{len(told)} compared, {table.row_count} changed, {selected - len(told)} passed over"
    )


def _models(one: Compared) -> str:
    return " -> ".join(f"{f.model.name}@{f.model.version}" for f in (one.before, one.after))


def _probability(one: Compared, code: str) -> float | None:
    return next((t.probability for t in one.before.types if t.code == code), None)
