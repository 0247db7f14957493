"""The trained network rewritten for speed: the same function, fewer and faster operations.

Batch norms are folded into their convolutions. Convolutions over time are written as images of
height 1, for which ONNX Runtime has blocked kernels. A convolution after nearest-neighbour
upsampling becomes one at the low rate whose channels hold the even and the odd samples (polyphase).
The decoder's spread, which only training needs, is left out.

`Influence` is the gradient behind the explanation, written out by hand: ONNX has no autograd. Its
way back through the BiLSTM is `model.through_time`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.resting.network import Residual, RestingNetwork
from model.resting.settings import MV_PER_UNIT, STRIDE
from model.through_time import lstm_back

_UNSEEN = 1e4  # taken off the scores of steps that were not seen


class Saved(NamedTuple):
    """What a block's gradient needs of its forward pass."""

    first: Tensor
    second: Tensor
    squeezed: Tensor
    gate: Tensor
    out: Tensor


class Block(nn.Module):
    """`Residual` at inference, on images `(B, C, 1, T)`."""

    def __init__(self, trained: Residual) -> None:
        super().__init__()
        self.stride = trained.stride
        self.first = as_image(fuse_conv_bn_eval(trained.first, trained.first_norm))
        self.second = as_image(fuse_conv_bn_eval(trained.second, trained.second_norm))
        self.shortcut = as_image(fuse_conv_bn_eval(trained.shortcut, trained.shortcut_norm))
        self.squeeze, self.excite = _pointwise(trained.squeeze), _pointwise(trained.excite)

    def forward(self, x: Tensor) -> Saved:
        """`(B, n_in, 1, T)` to `(B, n_out, 1, T / stride)` and the way there."""
        first = functional.relu(self.first(x))
        second = self.second(first)
        squeezed = functional.relu(self.squeeze(functional.adaptive_avg_pool2d(second, 1)))
        gate = torch.sigmoid(self.excite(squeezed))
        short = functional.avg_pool2d(x, (1, self.stride)) if self.stride > 1 else x
        out = functional.relu(second * gate + self.shortcut(short))
        return Saved(first, second, squeezed, gate, out)

    def backward(self, upstream: Tensor, saved: Saved) -> Tensor:
        """Gradient at the output to gradient at the input, `(K, C, 1, T)` each."""
        upstream = upstream * (saved.out > 0)
        d_gate = (upstream * saved.second).sum(dim=3, keepdim=True)
        d_squeezed = _back(self.excite, d_gate * saved.gate * (1 - saved.gate))
        d_mean = _back(self.squeeze, d_squeezed * (saved.squeezed > 0))
        second = upstream * saved.gate + d_mean / saved.second.shape[3]
        first = _back(self.second, second) * (saved.first > 0)
        short = _back(self.shortcut, upstream)
        if self.stride > 1:
            short = functional.interpolate(short, scale_factor=(1.0, float(self.stride)))
        return _back(self.first, first) + short / self.stride


class Trunk(nn.Module):
    """Waveform to features: stem, blocks, BiLSTM."""

    def __init__(self, network: RestingNetwork) -> None:
        super().__init__()
        self.stem = as_image(fuse_conv_bn_eval(network.stem, network.stem_norm))
        blocks = (Block(block) for block in network.blocks if isinstance(block, Residual))
        self.blocks = nn.ModuleList(blocks)
        self.lstm = network.lstm

    def waves(self, voltage_mv: Tensor, shown: Tensor) -> tuple[Tensor, list[Saved]]:
        """The stem's output and each block's."""
        stem = torch.cat([voltage_mv * shown / MV_PER_UNIT, shown], dim=1)[:, :, None]
        x = stem = functional.relu(self.stem(stem))
        passed = []
        for block in self.blocks:
            passed.append(block(x))
            x = passed[-1].out
        return stem, passed


class Streamlined(nn.Module):
    """All that `reading.measure` gives, as one graph."""

    def __init__(self, network: RestingNetwork) -> None:
        super().__init__()
        self.trunk, self.network, decoder = Trunk(network), network, network.decoder
        self.rhythm, self.mix = as_image(decoder.rhythm), as_image(decoder.mix)
        finer = (_polyphase(conv) for conv in decoder.finer if isinstance(conv, nn.Conv1d))
        self.finer = nn.ModuleList(finer)
        self.out = _polyphase(decoder.out, keep=12)

    def forward(self, voltage_mv: Tensor, visible: Tensor) -> tuple[Tensor, ...]:
        """`(B, 12, T)` and bool `(B, 12, T)` to the fields of `Measured`, in their order."""
        net, shown = self.network, visible.float()
        seen = _seen(shown)
        _, passed = self.trunk.waves(voltage_mv, shown)
        features = self.trunk.lstm(passed[-1].out[:, :, 0].transpose(1, 2))[0]
        attention = _attention(net, features, seen)
        share = seen.transpose(1, 2)
        mean = (features * share).sum(dim=1) / share.sum(dim=1).clamp(min=1)
        top = (features * share - (1 - share)).amax(dim=1)  # no feature is below -1
        spread = torch.cat([mean, top], dim=1)
        pooled = attention @ features
        statements = net.statements(torch.cat([pooled.flatten(1), spread], dim=1))
        morphology = torch.tanh(net.morphology(spread))
        restored_mv = self._restore(torch.tanh(net.rhythm(features).transpose(1, 2)), morphology)
        return (
            (attention * _values(net, features)).sum(dim=2),
            statements,
            attention,
            functional.avg_pool1d((voltage_mv - restored_mv).abs() * shown, STRIDE),
            pooled,
            restored_mv,
        )

    def _restore(self, rhythm: Tensor, morphology: Tensor) -> Tensor:
        style = self.network.decoder.style(morphology)[:, :, None, None]
        gain, shift = style.chunk(2, dim=1)
        h = self.rhythm(rhythm[:, :, None]) * (1 + gain) + shift
        h = functional.gelu(self.mix(functional.gelu(h)))
        for conv in self.finer:
            h = functional.gelu(_weave(conv(h)))
        return _weave(self.out(h))[:, :, 0] * MV_PER_UNIT


class Influence(nn.Module):
    """|gradient x voltage| of some types' logits for one window, a lead and step."""

    def __init__(self, network: RestingNetwork) -> None:
        super().__init__()
        self.trunk, self.network = Trunk(network), network

    def forward(self, voltage_mv: Tensor, visible: Tensor, types: Tensor) -> Tensor:
        """`(1, 12, T)`, bool `(1, 12, T)` and type indices `(K,)` to `(K, 12, T / STRIDE)`."""
        shown = visible.float()
        stem, passed = self.trunk.waves(voltage_mv, shown)
        waves = passed[-1].out[:, :, 0].transpose(1, 2)
        features = self.trunk.lstm(waves)[0]
        slope = self._heads_back(features, _seen(shown), types)
        slope = lstm_back(self.trunk.lstm, waves[0], features[0], slope)
        slope = slope.transpose(1, 2)[:, :, None]
        for block, saved in zip(reversed(self.trunk.blocks), reversed(passed), strict=True):
            slope = block.backward(slope, saved) if isinstance(block, Block) else slope
        slope = _back(self.trunk.stem, slope * (stem > 0), keep=12)[:, :, 0] * shown / MV_PER_UNIT
        return functional.avg_pool1d((slope * voltage_mv).abs(), STRIDE) * STRIDE

    def _heads_back(self, features: Tensor, seen: Tensor, types: Tensor) -> Tensor:
        """Gradient of these types' logits at the features of one window, `(K, S, F)`."""
        net, gated = self.network, self.network.attention
        attention = _attention(net, features, seen)[0, types]
        values = _values(net, features)[0, types]
        content = torch.tanh(gated.content(features[0]))
        gate = torch.sigmoid(gated.gate(features[0]))
        logit = (attention * values).sum(dim=1, keepdim=True)
        d_mixed = (attention * (values - logit))[:, :, None] * gated.maps.weight[types, None]
        d_content = d_mixed * gate * (1 - content * content)
        d_gate = d_mixed * content * gate * (1 - gate)
        direct = attention[:, :, None] * net.type_weight[types, None]
        return direct + d_content @ gated.content.weight + d_gate @ gated.gate.weight


def _seen(shown: Tensor) -> Tensor:
    """1 for steps where some lead was seen, `(B, 1, S)`."""
    return functional.max_pool1d(shown.amax(dim=1, keepdim=True), STRIDE)


def _attention(net: RestingNetwork, features: Tensor, seen: Tensor) -> Tensor:
    gated = net.attention
    mixed = torch.tanh(gated.content(features)) * torch.sigmoid(gated.gate(features))
    return torch.softmax(gated.maps(mixed).transpose(1, 2) - _UNSEEN * (1 - seen), dim=2)


def _values(net: RestingNetwork, features: Tensor) -> Tensor:
    """What each step would say of each type, `(B, n_types, S)`: attention averages it."""
    return functional.linear(features, net.type_weight, net.type_bias).transpose(1, 2)


def _back(conv: nn.Conv2d, upstream: Tensor, keep: int | None = None) -> Tensor:
    """Gradient at the output of `conv` to gradient at its input, or its first `keep` channels."""
    weight, stride, padding = conv.weight[:, :keep], conv.stride[1], int(conv.padding[1])
    if stride == 1:  # as a convolution with flipped kernels: ONNX Runtime's fast path
        padding = conv.kernel_size[1] - 1 - padding
        flipped = weight.flip(3).transpose(0, 1)
        return functional.conv2d(upstream, flipped, padding=(0, padding))
    return functional.conv_transpose2d(
        upstream, weight, None, (1, stride), (0, padding), (0, stride - 1)
    )


def as_image(conv: nn.Conv1d) -> nn.Conv2d:
    """The same convolution on `(B, C, 1, T)`."""
    image = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (1, conv.kernel_size[0]),
        (1, conv.stride[0]),
        (0, int(conv.padding[0])),
    )
    image.weight.data = conv.weight.data[:, :, None]
    if conv.bias is not None and image.bias is not None:
        image.bias.data = conv.bias.data
    return image


def _pointwise(linear: nn.Linear) -> nn.Conv2d:
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data, conv.bias = linear.weight.data[:, :, None, None], linear.bias
    return conv


def _polyphase(conv: nn.Conv1d, keep: int | None = None) -> nn.Conv2d:
    """Upsample by 2, then `conv`: as one convolution with channels (output, phase).

    Sample 2 u + p of the upsampled input is sample u, so tap j of phase p reads the input at
    floor((p + j - k // 2) / 2) from u. `keep` outputs remain.
    """
    weight, size = conv.weight.data[:keep], conv.kernel_size[0]
    reach = (size // 2 + 1) // 2
    phases = torch.zeros(len(weight), 2, conv.in_channels, 2 * reach + 1)
    for phase in (0, 1):
        for tap in range(size):
            phases[:, phase, :, (phase + tap - size // 2) // 2 + reach] += weight[:, :, tap]
    merged = nn.Conv1d(conv.in_channels, 2 * len(weight), 2 * reach + 1, padding=reach)
    merged.weight.data = phases.flatten(0, 1)
    if conv.bias is not None and merged.bias is not None:
        merged.bias.data = conv.bias.data[:keep].repeat_interleave(2)
    return as_image(merged)


def _weave(x: Tensor) -> Tensor:
    """`(B, 2 C, 1, T)` with channels (output, phase) to `(B, C, 1, 2 T)`."""
    phases = torch.unflatten(x, 1, (-1, 2)).squeeze(3)
    return phases.transpose(2, 3).flatten(2)[:, :, None]
