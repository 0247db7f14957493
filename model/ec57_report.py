"""EC57 figures of many recordings: gross, average, by patient; from folders of annotations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import wfdb

from model.annotations import BXB_CLASSES, read_annotations
from model.datasets.mitbih import SAME_PERSON
from model.ec57 import LEARNING_S, Comparison, compare
from model.errors import DatasetError
from model.metrics import Estimate, bootstrap


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several recordings, by name.

    Attributes:
        records: what was compared of each.
        patients: whose a recording is; one that is not named is its own patient's.
    """

    records: Mapping[str, Comparison]
    patients: Mapping[str, str] = field(default_factory=lambda: SAME_PERSON)

    @property
    def gross(self) -> Comparison:
        """All recordings as one."""
        return Comparison.gross(self.records.values())

    def average(self, figure: Callable[[Comparison], float]) -> float:
        """Mean of a figure over the recordings that have it (EC57: average statistics)."""
        each = [figure(one) for one in self.records.values()]
        known = [value for value in each if not np.isnan(value)]
        return float(np.mean(known)) if known else np.nan

    def interval(self, figure: Callable[[Comparison], float], *, n_draws: int = 500) -> Estimate:
        """Estimate a gross figure with a 95 % interval over patients drawn with replacement."""
        parts = list(self.records.values())
        patients = np.array([self.patients.get(name, name) for name in self.records])
        return bootstrap(
            patients,
            lambda rows: figure(Comparison.gross(parts[row] for row in rows)),
            n_draws=n_draws,
        )

    def table(self) -> str:
        """Figures of QRS, VEB and SVEB in percent: a line a recording, gross and average."""
        head = "Record    Q Se   Q +P   V Se   V +P   S Se   S +P    Acc"
        rows = [_row(name, [f(one) for f in _FIGURES]) for name, one in self.records.items()]
        rows.append(_row("Gross", [figure(self.gross) for figure in _FIGURES]))
        rows.append(_row("Average", [self.average(figure) for figure in _FIGURES]))
        return "\n".join([head, *rows])


_FIGURES: tuple[Callable[[Comparison], float], ...] = (
    lambda c: c.qrs.sensitivity,
    lambda c: c.qrs.positive_predictivity,
    lambda c: c.ventricular.sensitivity,
    lambda c: c.ventricular.positive_predictivity,
    lambda c: c.supraventricular.sensitivity,
    lambda c: c.supraventricular.positive_predictivity,
    lambda c: c.accuracy,
)


def _row(name: str, shares: list[float]) -> str:
    figures = ["     -" if np.isnan(share) else f"{100 * share:6.2f}" for share in shares]
    return f"{name:8s}{' '.join(figures)}"


def evaluate_folders(
    reference: Path,
    test: Path,
    *,
    reference_extension: str = "atr",
    test_extension: str = "hsb",
    start_s: float = LEARNING_S,
    classes: dict[str, str] = BXB_CLASSES,
) -> Evaluation:
    """Compare every recording that the test folder annotates with the reference's word on it.

    Raises:
        DatasetError: `annotations-missing`, `annotations-malformed`, or `rates-differ`.
    """
    names = sorted(path.stem for path in test.glob(f"*.{test_extension}"))
    if not names:
        raise DatasetError("annotations-missing", f"no .{test_extension} files to compare")
    records = {}
    for name in names:
        expert = read_annotations(reference / name, reference_extension)
        records[name] = compare(
            expert,
            read_annotations(test / name, test_extension),
            n_samples=_length(reference / name),
            start_s=start_s,
            classes=classes,
        )
    return Evaluation(records)


def _length(record: Path) -> int | None:
    """Samples of a recording; None where there is no header to say."""
    if not Path(f"{record}.hea").is_file():
        return None
    length = wfdb.rdheader(str(record)).sig_len
    return int(length) if length else None
