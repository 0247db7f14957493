"""What is trained on normal beats alone: the shipped restoration, and the baseline beside it."""

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.strip.batches import Annotated
from model.strip.inputs import BeatInputs
from model.strip.restoration import Restorer

_BATCH = 256
_MAX_LR = 3e-3
RESTORER_STEPS, PLAIN_STEPS = 1_500, 1_200
_HIDDEN = 32
_READ = 2_048

NetT = TypeVar("NetT", "Restorer", "PlainAutoencoder")


class PlainAutoencoder(nn.Module):
    """The baseline: one LSTM reads the beat, another one writes it again from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(1, _HIDDEN, batch_first=True)
        self.decoder = nn.LSTM(_HIDDEN, _HIDDEN, batch_first=True)
        self.out = nn.Linear(_HIDDEN, 1)

    def error(self, shapes: Tensor, rhythm: Tensor) -> Tensor:
        """Root mean square error `(n,)` in QRS heights; sees neither template nor rhythm."""
        del rhythm
        beat = shapes[:, 0]
        _, (state, _) = self.encoder(beat[..., None])
        repeated = state[-1][:, None].expand(-1, beat.shape[1], -1)
        written = self.out(self.decoder(repeated)[0])[..., 0]
        return torch.sqrt(torch.mean((written - beat) ** 2, dim=1) + 1e-6)


def train_restorer(data: Annotated, seed: int, steps: int = RESTORER_STEPS) -> Restorer:
    """Teach the restoration on the normal beats of some records."""
    torch.manual_seed(seed)
    return _trained(Restorer(), data, steps)


def train_plain(data: Annotated, seed: int, steps: int = PLAIN_STEPS) -> PlainAutoencoder:
    """Teach the baseline on the same beats."""
    torch.manual_seed(seed)
    return _trained(PlainAutoencoder(), data, steps)


@torch.inference_mode()
def errors(module: Restorer | PlainAutoencoder, inputs: BeatInputs) -> NDArray[np.float64]:
    """Errors `(n, L)` of all beats in all leads."""
    n, n_leads = inputs.traits.shape[:2]
    found = np.zeros((n, n_leads))
    for lead in range(n_leads):
        for start in range(0, n, _READ):
            rows = slice(start, start + _READ)
            shapes = torch.from_numpy(inputs.shapes[rows, lead].astype(np.float32))
            error = module.error(shapes, torch.from_numpy(inputs.rhythm[rows]))
            found[rows, lead] = error.numpy()
    return found


def _trained(module: NetT, data: Annotated, steps: int) -> NetT:
    normal = torch.nonzero(data.classes == 0)[:, 0]
    optimizer = torch.optim.AdamW(module.parameters(), _MAX_LR)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _MAX_LR * (1 - step / steps)
        rows = normal[torch.randint(len(normal), (_BATCH,))]
        lead = torch.randint(data.shapes.shape[2], (_BATCH,))
        view = torch.randint(len(data.shapes), (_BATCH,))
        shapes = data.shapes[view, rows, lead].float()
        sign = torch.randint(2, (_BATCH, 1, 1)) * 2.0 - 1
        loss = module.error(sign * shapes, data.rhythm[rows]).mean()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    return module.eval()
