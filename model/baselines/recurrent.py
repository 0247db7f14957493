"""A plain LSTM autoencoder: one LSTM reads, its last state is the code, another one writes.

Malhotra et al., LSTM-based encoder-decoder for multi-sensor anomaly detection, ICML workshop 2016.
An LSTM cannot carry ten seconds in one state, nor windows cut anywhere (it then restores a flat
line); as usual it reads one beat at a time.
"""

import torch
from torch import Tensor, nn

from model.resting.settings import MV_PER_UNIT

WIDTH, CODE_WIDTH = 96, 32


class LstmAutoencoder(nn.Module):
    """One beat through CODE_WIDTH numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.LSTM(12, WIDTH, batch_first=True)
        self.code = nn.Linear(WIDTH, CODE_WIDTH)
        self.writer = nn.LSTM(CODE_WIDTH, WIDTH, batch_first=True)
        self.out = nn.Linear(WIDTH, 12)

    def forward(self, voltage_mv: Tensor) -> Tensor:
        """Restore `(B, 12, T)` in mV."""
        # In float32 also where training casts: some processors have no bfloat16 LSTM of this width.
        with torch.autocast(voltage_mv.device.type, enabled=False):
            _, (state, _) = self.reader(voltage_mv.transpose(1, 2) / MV_PER_UNIT)
            code = self.code(state[-1])[:, None].expand(-1, voltage_mv.shape[2], -1)
            restored: Tensor = self.out(self.writer(code)[0]).transpose(1, 2)
        return restored * MV_PER_UNIT
