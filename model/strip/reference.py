"""The strip model in torch: several networks and the restoration as one module."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.errors import BundleError
from model.strip.network import BeatNetwork
from model.strip.reading import ABSENT, Measured, SequenceBatch
from model.strip.restoration import Restorer
from model.strip.settings import Dimensions

PREFIX = "beats."


class Ensemble(nn.Module):
    """What `Measured` holds, averaged over networks."""

    def __init__(self, networks: Sequence[BeatNetwork], restorer: Restorer) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.restorer = restorer

    @property
    def readers(self) -> list[BeatNetwork]:
        """The networks, by their type."""
        return [network for network in self.networks if isinstance(network, BeatNetwork)]

    def forward(
        self, shapes: Tensor, traits: Tensor, rhythm: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A `SequenceBatch` to the fields of `Measured`; each beat is encoded once."""
        present, rows = rows != ABSENT, rows.clamp(min=0)
        readings = [
            network.in_order(network.encoder(shapes, traits, rhythm)[0][rows], present)
            for network in self.readers
        ]
        log_probabilities = torch.stack([r.logits.log_softmax(dim=2) for r in readings])
        attention = torch.stack([r.attention for r in readings])
        ectopy = torch.stack([r.ectopy for r in readings])
        return (
            log_probabilities.mean(dim=0),
            attention.mean(dim=0),
            ectopy.mean(dim=0),
            self.restorer.error(shapes, rhythm),
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
