"""The reference runtime: torch, eager, float32. What ships must agree with it."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from model.errors import BundleError
from model.resting.card import RestingBundle
from model.resting.measured import Array, Measured
from model.resting.network import RestingNetwork
from model.resting.reading import lead_influence, measure_all
from model.resting.settings import STRIDE


def trained_network(bundle: RestingBundle) -> RestingNetwork:
    """The bundle's network at inference.

    Raises:
        BundleError: `bundle-altered` when the weights do not fit the card's sizes.
    """
    network = RestingNetwork(bundle.card.dimensions)
    state = {
        name.removeprefix("network."): torch.from_numpy(tensor)
        for name, tensor in bundle.tensors.items()
        if name.startswith("network.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BundleError("bundle-altered", "the weights do not fit the card's sizes") from error
    return network.eval().requires_grad_(requires_grad=False)


class TorchRuntime:
    """A `Runtime` of the network as it was trained."""

    def __init__(self, network: RestingNetwork) -> None:
        self._network = network

    @classmethod
    def of(cls, bundle: RestingBundle, threads: int = 1) -> Self:
        """From the weights; sets torch's threads for the whole process."""
        torch.set_num_threads(threads)
        return cls(trained_network(bundle))

    def measure(self, voltage_mv: Array, visible: NDArray[np.bool_]) -> Measured:
        """Read `(B, 12, T)`."""
        return measure_all(self._network, voltage_mv, visible)

    def influence(
        self, voltage_mv: Array, visible: NDArray[np.bool_], types: Sequence[int]
    ) -> NDArray[np.float64]:
        """`(K, 12, S)` by autograd, one type after another."""
        found = [lead_influence(self._network, voltage_mv, visible, k) for k in types]
        return (
            np.stack(found)
            if found
            else np.zeros((0, len(voltage_mv), voltage_mv.shape[1] // STRIDE))
        )
