"""Training of the resting network: seeded, resumable, on a GPU where there is one.

Half of each batch is shown with masked patches and teaches the restoration (its normal ECGs only)
and the types; the other half is mixed pairwise (mixup, Zhang et al., ICLR 2018) and teaches the
types. The first epochs run on crops. Every epoch's state is a function of (seed, epoch), so that
a resumed run goes the way the uninterrupted one would have gone.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.datasets.ptbxl import PtbXl
from model.errors import DatasetError
from model.metrics import auroc, macro_auroc
from model.resting.batches import Arrays, Batch, arrays, batches
from model.resting.network import Code, RestingNetwork
from model.resting.settings import MV_PER_UNIT, SELECTED_BY, Dimensions, Settings

_VALIDATION_BATCH = 128
_LOSS_NAMES = ("loss_types", "loss_statements", "loss_restoration")


class Losses(NamedTuple):
    """The three parts, each unweighted."""

    types: Tensor
    statements: Tensor
    restoration: Tensor


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to the caller after every step."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


def train(
    training: PtbXl,
    validation: PtbXl,
    settings: Settings,
    run_dir: Path,
    *,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda _: None,
) -> RestingNetwork:
    """Train, and return the averaged network of the best epoch.

    `run_dir` receives settings.json, metrics.jsonl (a line an epoch), last.safetensors and
    best.safetensors.

    Raises:
        DatasetError: `run-missing` when there is nothing to resume.
    """
    run = _Run(training, validation, settings, run_dir)
    if resume:
        run.restore()
    for epoch in range(run.next_epoch, settings.epochs):
        figures = run.epoch(epoch, on_step)
        on_epoch(figures)
        if run.stale >= settings.patience:
            break
    return load_averaged(run_dir / "best.safetensors", run.network.dims)


def history(run_dir: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl, one an epoch."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def load_averaged(path: Path, dims: Dimensions) -> RestingNetwork:
    """The averaged network inside a checkpoint."""
    network = RestingNetwork(dims)
    prefix = "average."
    state = {k.removeprefix(prefix): v for k, v in load_file(path).items() if k.startswith(prefix)}
    network.load_state_dict(state)
    return network.eval()


class _Run:
    """Network, its moving average and its optimiser, with their way to disk and back."""

    def __init__(
        self, training: PtbXl, validation: PtbXl, settings: Settings, run_dir: Path
    ) -> None:
        self.settings, self.run_dir = settings, run_dir
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(settings.seed)
        dims = Dimensions(n_statements=len(training.statement_names))
        self.network = RestingNetwork(dims).to(self.device)
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            settings.max_lr,
            (0.9, 0.99),
            weight_decay=settings.weight_decay,
        )
        self.training = arrays(training, self.device)
        self.validation = arrays(validation, self.device)
        self.next_epoch, self.best, self.stale = 0, -math.inf, 0
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "settings.json").write_text(
            json.dumps({**asdict(settings), "data_sha256": training.sha256()}, indent=2) + "\n"
        )

    def epoch(self, epoch: int, on_step: Callable[[Progress], None]) -> dict[str, float]:
        """One pass over the training data, one validation, one checkpoint."""
        started = time.monotonic()
        torch.manual_seed(self.settings.seed * 10_007 + epoch)
        self.network.train()
        steps = len(self.training.normal) // self.settings.batch_size
        sums = np.zeros(3)
        for step, batch in enumerate(batches(self.training, self.settings, epoch)):
            losses = self._step(batch, (epoch + step / steps) / self.settings.epochs)
            sums += [part.item() for part in losses]
            on_step(
                Progress(epoch, self.settings.epochs, step + 1, steps, float(sums[0] / (step + 1)))
            )
        loss = dict(zip(_LOSS_NAMES, (sums / steps).tolist(), strict=True))
        figures = {"epoch": epoch, **loss, **validate(self._averaged, self.validation)}
        figures["seconds"] = round(time.monotonic() - started, 1)
        self._keep(epoch, figures)
        return figures

    @property
    def _averaged(self) -> RestingNetwork:
        return cast("RestingNetwork", self.average.module)

    def restore(self) -> None:
        """Continue after the last finished epoch."""
        path = self.run_dir / "last.safetensors"
        if not path.exists():
            raise DatasetError("run-missing", f"{self.run_dir} holds no run to resume")
        state = load_file(path)
        _load_part(self.network, state, "network.")
        _load_part(self.average.module, state, "average.")
        self.average.n_averaged.copy_(state["averaged"])
        for index, parameter in enumerate(self.network.parameters()):
            prefix = f"adam.{index}."
            self.optimizer.state[parameter] = {
                k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)
            }
        self.next_epoch = int(state["epochs"])
        lines = history(self.run_dir)[: self.next_epoch]
        _write_lines(self.run_dir / "metrics.jsonl", lines)
        reached = [line[SELECTED_BY] for line in lines]
        self.best = max(reached)
        self.stale = len(reached) - 1 - reached.index(self.best)

    def _step(self, batch: Batch, done: float) -> Losses:
        for group in self.optimizer.param_groups:
            group["lr"] = one_cycle(done, self.settings)
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = loss_parts(self.network, batch)
        total = (
            losses.types
            + self.settings.statement_weight * losses.statements
            + self.settings.restoration_weight * losses.restoration
        )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        return losses

    def _keep(self, epoch: int, figures: dict[str, float]) -> None:
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        average = {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        for index, parameter in enumerate(self.network.parameters()):
            for name, value in self.optimizer.state[parameter].items():
                state[f"adam.{index}.{name}"] = value
        state["averaged"] = self.average.n_averaged
        state["epochs"] = torch.tensor(epoch + 1)
        self.stale += 1
        if figures[SELECTED_BY] > self.best:
            self.best, self.stale = figures[SELECTED_BY], 0
            _save(average, self.run_dir / "best.safetensors")
        # The line first: a stop in between leaves one too many, and restore() drops it.
        earlier = history(self.run_dir) if epoch else []
        _write_lines(self.run_dir / "metrics.jsonl", [*earlier, figures])
        _save({**state, **average}, self.run_dir / "last.safetensors")


def one_cycle(done: float, settings: Settings) -> float:
    """Learning rate after the share `done` of all steps (Smith and Topin, 2018), by cosines."""
    if done < settings.warm_up:
        rise = 0.5 - 0.5 * math.cos(math.pi * done / settings.warm_up)
        return settings.max_lr * (0.04 + 0.96 * rise)
    fall = (done - settings.warm_up) / (1 - settings.warm_up)
    return settings.max_lr * (0.5 + 0.5 * math.cos(math.pi * fall)) + 1e-6


def loss_parts(network: RestingNetwork, batch: Batch) -> Losses:
    """Cross-entropy of types and statements; Laplace likelihood of the restored normals."""
    reading = network(batch.voltage_mv, batch.visible)
    code = Code(*(part[batch.restore] for part in reading.code))
    mean_mv, log_scale = network.restore(code)
    length = batch.target_mv.shape[2]
    error = (batch.target_mv - mean_mv[:, :, :length]).abs() / MV_PER_UNIT
    likelihood = error * torch.exp(-log_scale[:, :, :length]) + log_scale[:, :, :length]
    return Losses(
        functional.binary_cross_entropy_with_logits(reading.type_logits, batch.types),
        functional.binary_cross_entropy_with_logits(reading.statement_logits, batch.statements),
        likelihood.mean() if len(batch.restore) else likelihood.sum(),
    )


@torch.inference_mode()
def validate(network: RestingNetwork, data: Arrays) -> dict[str, float]:
    """AUROC of types, superclasses and statements, and of restoration alone (normal or not)."""
    network.eval()
    types, statements, misfit = [], [], []
    for voltage in torch.split(data.voltage_mv, _VALIDATION_BATCH):
        reading = network(voltage, torch.ones_like(voltage, dtype=torch.bool))
        types.append(reading.type_logits)
        statements.append(reading.statement_logits)
        mean_mv, _ = network.restore(reading.code)
        misfit.append((voltage - mean_mv).abs().mean(dim=(1, 2)))
    truth = data.types.cpu().numpy() > 0
    scores = torch.cat(types).cpu().double().numpy()
    classified = truth[:, :-1].any(axis=1)
    return {
        "macro_auroc_types": macro_auroc(truth[:, 1:], scores[:, 1:]),
        "macro_auroc_superclasses": macro_auroc(truth[classified, :-1], scores[classified, :-1]),
        "macro_auroc_statements": macro_auroc(
            data.statements.cpu().numpy() > 0, torch.cat(statements).cpu().double().numpy()
        ),
        "auroc_restoration": auroc(
            ~data.normal.cpu().numpy(), torch.cat(misfit).cpu().double().numpy()
        ),
    }


def _load_part(module: nn.Module, state: dict[str, Tensor], prefix: str) -> None:
    part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    module.load_state_dict(part)


def _write_lines(path: Path, lines: list[dict[str, float]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _save(state: dict[str, Tensor], path: Path) -> None:
    """Replace at once: a stop while writing leaves the older file."""
    part = path.with_suffix(".part")
    save_file({k: v.detach().contiguous().cpu() for k, v in state.items()}, part)
    part.replace(path)
