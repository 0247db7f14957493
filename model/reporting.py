"""What the commands that measure on PTB-XL share: folds, options, one JSON of figures."""

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from model.datasets import ptbxl
from model.datasets.ptbxl import PtbXl

TRAINING_FOLDS, REPORT_FOLDS = tuple(range(1, 9)), (9,)

Json = dict[str, Any]

_log = logging.getLogger(__name__)


def parser(description: str) -> argparse.ArgumentParser:
    """Options of every such command; `start` and `finish` serve them."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data-path", type=Path, required=True, help="PTB-XL folder")
    options.add_argument("--cache", type=Path, help="keeps the samples for the next run")
    options.add_argument("--threads", type=int, help="of torch [default: as many as cores]")
    options.add_argument("--json", type=Path, help="write the figures here")
    return options


def start(options: argparse.Namespace) -> tuple[PtbXl, PtbXl]:
    """Set up logging and threads; the ECGs to train on and those to report."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    return (
        ptbxl.load(options.data_path, TRAINING_FOLDS, options.cache),
        ptbxl.load(options.data_path, REPORT_FOLDS, options.cache),
    )


def finish(options: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    """Log the figures and write them."""
    _log.info("%s", json.dumps(figures))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
