"""The trained networks rewritten for speed: the same function in faster operations.

Batch norms are folded into their convolutions, and convolutions over a beat are written as images
of height 1, for which ONNX Runtime has blocked kernels. (Transposed ones gain nothing by it.)
"""

from copy import deepcopy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.streamlined import as_image
from model.strip.reference import Ensemble


def streamlined(ensemble: Ensemble) -> Ensemble:
    """A copy to be exported."""
    fast = deepcopy(ensemble).eval()
    for network in fast.readers:
        network.encoder.convolutions = _images(network.encoder.convolutions)
    fast.restorer.down = _images(fast.restorer.down)
    return fast


def _images(layers: nn.Sequential) -> nn.Sequential:
    """The same on `(n, C, T)`, through images `(n, C, 1, T)`."""
    images: list[nn.Module] = [nn.Unflatten(2, (1, -1))]
    previous: nn.Module | None = None
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d) and isinstance(previous, nn.Conv1d):
            images[-1] = as_image(fuse_conv_bn_eval(previous, layer))
        else:
            images.append(as_image(layer) if isinstance(layer, nn.Conv1d) else layer)
        previous = layer
    return nn.Sequential(*images, nn.Flatten(2))
