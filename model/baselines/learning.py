"""Training shared by the baselines that are networks: AdamW, OneCycle, random windows, checkpoints.

The loss alone differs: an autoencoder restores its input, a classifier names types and statements.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from model.anomaly import AFTER, BEFORE, beat_positions
from model.resting.settings import MV_PER_UNIT, Settings
from model.resting.training import one_cycle

Array = NDArray[np.float32]
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Cut = Callable[[Array], Array]  # one window of each ECG, `(n, 12, T)` to `(n, 12, window)`
OnEpoch = Callable[[dict[str, float]], None]

_CHECKPOINT, _HISTORY = "last.safetensors", "metrics.jsonl"


@dataclass(frozen=True)
class Plan:
    """How a baseline is trained, and where its files go."""

    epochs: int
    run_dir: Path
    seed: int = 0
    batch_size: int = 64
    max_lr: float = 2e-3
    on_epoch: OnEpoch = lambda _: None


def restoration_loss(network: nn.Module, voltage_mv: Tensor, _targets: Tensor) -> Tensor:
    """Mean squared error in network units: what a plain autoencoder minimises."""
    return functional.mse_loss(network(voltage_mv) / MV_PER_UNIT, voltage_mv / MV_PER_UNIT)


def label_loss(network: nn.Module, voltage_mv: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy."""
    return functional.binary_cross_entropy_with_logits(network(voltage_mv).float(), targets)


def seeded(make: Callable[[], nn.Module], plan: Plan) -> nn.Module:
    """A network whose first weights depend on the plan's seed alone."""
    torch.manual_seed(plan.seed)
    return make()


def fit(
    network: nn.Module, voltage_mv: Array, targets: Array, plan: Plan, *, cut: Cut, loss: Loss
) -> None:
    """Train in place on `(n, 12, T)` and `(n, k)`; a run that is in `run_dir` goes on.

    Each epoch shows one window of each ECG, as `cut` draws it from torch's random numbers.
    """
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(network.parameters(), plan.max_lr, (0.9, 0.99), weight_decay=0.01)
    settings = Settings(epochs=plan.epochs, max_lr=plan.max_lr)
    steps = len(voltage_mv) // plan.batch_size
    done = _restore(network, optimizer, plan.run_dir)
    for epoch in range(done, plan.epochs):
        started, total = time.monotonic(), 0.0
        torch.manual_seed(plan.seed * 10_007 + epoch)
        network.train()
        order = torch.randperm(len(voltage_mv)).numpy()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = one_cycle((epoch + step / steps) / plan.epochs, settings)
            rows = order[step * plan.batch_size : (step + 1) * plan.batch_size]
            crop = torch.from_numpy(cut(voltage_mv[rows]))
            total += _step(network, optimizer, loss, crop, torch.from_numpy(targets[rows]))
        seconds = round(time.monotonic() - started, 1)
        figures = {"epoch": epoch, "loss": total / max(steps, 1), "seconds": seconds}
        _keep(network, optimizer, plan.run_dir, figures)
        plan.on_epoch(figures)
    network.eval()


def random_crop(window: int) -> Cut:
    """Cut `window` samples anywhere."""

    def cut(voltage_mv: Array) -> Array:
        starts = torch.randint(voltage_mv.shape[2] - window + 1, (len(voltage_mv),)).tolist()
        return np.stack([v[:, s : s + window] for v, s in zip(voltage_mv, starts, strict=True)])

    return cut


def random_beat(voltage_mv: Array) -> Array:
    """Cut BEFORE + AFTER samples around one of each ECG's beats."""
    drawn = []
    for row in voltage_mv:
        at = beat_positions(row)
        start = int(at[int(torch.randint(len(at), ()))]) - BEFORE
        drawn.append(row[:, start : start + BEFORE + AFTER])
    return np.stack(drawn)


def seconds_taken(run_dir: Path) -> float:
    """Training time of a run, all epochs together."""
    return round(float(sum(json.loads(line)["seconds"] for line in _lines(run_dir))), 1)


@torch.inference_mode()
def by_windows(
    network: nn.Module, voltage_mv: Array, window: int, hop: int, batch: int = 128
) -> list[Array]:
    """The network's answer to every window of `(n, 12, T)`, one array a window."""
    network.eval()
    answers = []
    for start in range(0, voltage_mv.shape[2] - window + 1, hop):
        piece = np.ascontiguousarray(voltage_mv[:, :, start : start + window])
        parts = [network(part).float() for part in torch.split(torch.from_numpy(piece), batch)]
        answers.append(torch.cat(parts).numpy())
    return answers


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss, crop: Tensor, target: Tensor
) -> float:
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(network, crop, target)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(value)
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(value.detach())


def _keep(
    network: nn.Module, optimizer: torch.optim.Optimizer, run_dir: Path, figures: dict[str, float]
) -> None:
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    for index, parameter in enumerate(network.parameters()):
        for name, value in optimizer.state[parameter].items():
            state[f"adam.{index}.{name}"] = value
    state["epochs"] = torch.tensor(int(figures["epoch"]) + 1)
    # The line first: a stop in between leaves one too many, and the next run drops it.
    lines = _lines(run_dir)[: int(figures["epoch"])]
    (run_dir / _HISTORY).write_text("".join([*lines, json.dumps(figures) + "\n"]), "utf-8")
    part = run_dir / "last.part"
    save_file({name: value.contiguous() for name, value in state.items()}, part)
    part.replace(run_dir / _CHECKPOINT)


def _lines(run_dir: Path) -> list[str]:
    path = run_dir / _HISTORY
    return path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []


def _restore(network: nn.Module, optimizer: torch.optim.Optimizer, run_dir: Path) -> int:
    """Load what is there; the number of finished epochs."""
    if not (run_dir / _CHECKPOINT).exists():
        return 0
    state = load_file(run_dir / _CHECKPOINT)
    network.load_state_dict(_part(state, "network."))
    for index, parameter in enumerate(network.parameters()):
        optimizer.state[parameter] = _part(state, f"adam.{index}.")
    return int(state["epochs"])


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
