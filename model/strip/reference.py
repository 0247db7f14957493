"""The strip model in torch: several networks and the restoration as one module."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import BundleError
from model.strip.network import BeatNetwork
from model.strip.reading import Measured, SequenceBatch
from model.strip.restoration import Restorer
from model.strip.settings import Dimensions

PREFIX = "beats."


class Ensemble(nn.Module):
    """What `Measured` holds, averaged over networks."""

    def __init__(self, networks: Sequence[BeatNetwork], restorer: Restorer) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.restorer = restorer

    def forward(
        self, shapes: Tensor, traits: Tensor, rhythm: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log probabilities `(B, T, 5)`, attention `(B, T)`, ectopy `(B,)`, errors `(B, T)`."""
        readings = [network(shapes, traits, rhythm, present) for network in self.networks]
        log_probabilities = torch.stack([r.logits.log_softmax(dim=2) for r in readings])
        attention = torch.stack([r.beat_attention for r in readings])
        ectopy = torch.stack([r.ectopy for r in readings])
        errors = self.restorer.error(shapes.flatten(0, 1), rhythm.flatten(0, 1))
        return (
            log_probabilities.mean(dim=0),
            attention.mean(dim=0),
            ectopy.mean(dim=0),
            errors.view(shapes.shape[0], shapes.shape[1]),
        )

    @torch.inference_mode()
    def measure(self, batch: SequenceBatch) -> Measured:
        """As a `Measure`."""
        return Measured(*(part.numpy() for part in self(*map(torch.from_numpy, batch))))

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For safetensors; `from_tensors` is the inverse."""
        return {PREFIX + name: value.numpy() for name, value in self.state_dict().items()}


def from_tensors(
    tensors: Mapping[str, NDArray[Any]], dims: Dimensions, n_networks: int
) -> Ensemble:
    """The ensemble of a bundle, at inference.

    Raises:
        BundleError: `bundle-altered` when the weights do not fit the card's sizes.
    """
    ensemble = Ensemble([BeatNetwork(dims) for _ in range(n_networks)], Restorer())
    state = {
        name.removeprefix(PREFIX): torch.from_numpy(np.array(value))
        for name, value in tensors.items()
        if name.startswith(PREFIX)
    }
    try:
        ensemble.load_state_dict(state)
    except RuntimeError as error:
        raise BundleError("bundle-altered", "the weights do not fit the card's sizes") from error
    return ensemble.eval().requires_grad_(requires_grad=False)
