"""xresnet1d101 from its papers.

He et al., Bag of tricks for image classification, CVPR 2019: three small convolutions as stem
(ResNet-C), stride in the middle convolution (B), average pooling before the shortcut's convolution
(D), last normalisation of each block starting at zero. Strodthoff et al., Deep learning for ECG
analysis, IEEE JBHI 25(5), 2021: one dimension, kernel 5, 3-4-23-3 blocks of equal width, pooling of
mean and maximum, a hidden layer of 128, random crops of 2.5 s, their outputs averaged.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.resting.settings import MV_PER_UNIT

STEM = (32, 32, 64)
WIDTH, EXPANSION = 64, 4
BLOCKS = (3, 4, 23, 3)
KERNEL = 5
HIDDEN = 128
DROPOUT = 0.5


class XResNet1d101(nn.Module):
    """12 leads to logits."""

    window = 250

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        widths = (12, *STEM)
        stem = [
            _convolution(n_in, n_out, KERNEL, stride=2 if i == 0 else 1)
            for i, (n_in, n_out) in enumerate(pairwise(widths))
        ]
        self.stem = nn.Sequential(*stem, nn.MaxPool1d(3, 2, 1))
        blocks, n_in = [], STEM[-1]
        for stage, count in enumerate(BLOCKS):
            for i in range(count):
                blocks.append(Bottleneck(n_in, stride=2 if stage > 0 and i == 0 else 1))
                n_in = WIDTH * EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * n_in),
            nn.Dropout(DROPOUT / 2),
            nn.Linear(2 * n_in, HIDDEN),
            nn.ReLU(),
            nn.BatchNorm1d(HIDDEN),
            nn.Dropout(DROPOUT),
            nn.Linear(HIDDEN, n_outputs),
        )

    def forward(self, voltage_mv: Tensor) -> Tensor:
        """Logits `(B, n_outputs)` of `(B, 12, T)` in mV."""
        h = self.blocks(self.stem(voltage_mv / MV_PER_UNIT))
        logits: Tensor = self.head(torch.cat([h.mean(dim=2), h.amax(dim=2)], dim=1))
        return logits


class Bottleneck(nn.Module):
    """1, KERNEL, 1 convolutions beside a shortcut that changes size only where it must."""

    def __init__(self, n_in: int, *, stride: int) -> None:
        super().__init__()
        n_out = WIDTH * EXPANSION
        last = nn.BatchNorm1d(n_out)
        nn.init.zeros_(last.weight)  # the block starts as its shortcut
        self.path = nn.Sequential(
            _convolution(n_in, WIDTH, 1),
            _convolution(WIDTH, WIDTH, KERNEL, stride=stride),
            nn.Conv1d(WIDTH, n_out, 1, bias=False),
            last,
        )
        pool = nn.AvgPool1d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        match = _convolution(n_in, n_out, 1, active=False) if n_in != n_out else nn.Identity()
        self.shortcut = nn.Sequential(pool, match)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, n_in, T)` to `(B, WIDTH * EXPANSION, ceil(T / stride))`."""
        return functional.relu(self.path(x) + self.shortcut(x))


def _convolution(
    n_in: int, n_out: int, kernel: int, *, stride: int = 1, active: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm1d(n_out),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if active else nn.Sequential(*layers)
