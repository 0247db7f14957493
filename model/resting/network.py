"""The 12-lead resting network: CNN-LSTM encoder, one attention map a type, narrow autoencoder.

The waveform runs through strided residual convolutions to steps of 80 ms and a BiLSTM. From there:
- each type looks through its own gated attention map (Ilse et al., ICML 2018), so that what it
  looked at is known; the statements read all maps together;
- a rhythm code (few numbers a step) and a morphology code (one vector an ECG) are all that the
  decoder sees. Taught on normal ECGs only, it restores what a normal heart with this rhythm would
  have shown: a beat unlike the others, or a shape unlike the normals, does not fit through.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.resting.settings import MV_PER_UNIT, STRIDE, Dimensions

MIN_LOG_SCALE, MAX_LOG_SCALE = -3.0, 2.0  # Laplace scale between 0.01 mV and 1.5 mV


class Code(NamedTuple):
    """What passes through the bottleneck, each number in (-1, 1).

    Attributes:
        rhythm: `(B, rhythm_width, S)`.
        morphology: `(B, morphology_width)`.
    """

    rhythm: Tensor
    morphology: Tensor


class Reading(NamedTuple):
    """What the encoder makes of a batch; S = T / STRIDE.

    Attributes:
        type_logits: `(B, n_types)`.
        statement_logits: `(B, n_statements)`.
        attention: `(B, n_types, S)`, sums to 1 over S.
        pooled: `(B, n_types, F)` features as each type's attention averages them.
        code: for the decoder.
    """

    type_logits: Tensor
    statement_logits: Tensor
    attention: Tensor
    pooled: Tensor
    code: Code


class Residual(nn.Module):
    """Two convolutions beside a shortcut, with squeeze and excitation."""

    def __init__(self, n_in: int, n_out: int, *, stride: int, kernel: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(n_out)
        self.second = nn.Conv1d(n_out, n_out, kernel, 1, kernel // 2, bias=False)
        self.second_norm = nn.BatchNorm1d(n_out)
        self.squeeze = nn.Linear(n_out, n_out // 8)
        self.excite = nn.Linear(n_out // 8, n_out)
        self.shortcut = nn.Conv1d(n_in, n_out, 1, bias=False)
        self.shortcut_norm = nn.BatchNorm1d(n_out)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """`(B, n_in, T)` to `(B, n_out, T / stride)`."""
        h = functional.relu(self.first_norm(self.first(x)))
        h = self.second_norm(self.second(h))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(h.mean(dim=2)))))
        short = functional.avg_pool1d(x, self.stride) if self.stride > 1 else x
        return functional.relu(h * gate[:, :, None] + self.shortcut_norm(self.shortcut(short)))


class GatedAttention(nn.Module):
    """One map a type over time: softmax of `w_t . (tanh(V h) * sigmoid(U h))`."""

    def __init__(self, n_features: int, width: int, n_types: int) -> None:
        super().__init__()
        self.content = nn.Linear(n_features, width)
        self.gate = nn.Linear(n_features, width)
        self.maps = nn.Linear(width, n_types)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """`(B, S, F)` and `(B, S)` bool to `(B, n_types, S)`; steps not seen get no weight."""
        scores = self.maps(torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features)))
        scores = scores.float().masked_fill(~seen[:, :, None], -1e4)
        return torch.softmax(scores, dim=1).transpose(1, 2)


class Decoder(nn.Module):
    """From a code to the waveform and the spread that a normal ECG would have there."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        width = dims.decoder_width
        self.rhythm = nn.Conv1d(dims.rhythm_width, 2 * width, 5, padding=2)
        self.style = nn.Linear(dims.morphology_width, 4 * width)
        self.mix = nn.Conv1d(2 * width, width, 5, padding=2)
        self.finer = nn.ModuleList(nn.Conv1d(width, width, 5, padding=2) for _ in range(2))
        self.out = nn.Conv1d(width, 2 * 12, 7, padding=3)

    def forward(self, code: Code) -> tuple[Tensor, Tensor]:
        """Return mean in mV and log Laplace scale in network units, both `(B, 12, T)`."""
        gain, shift = self.style(code.morphology)[:, :, None].chunk(2, dim=1)
        h = self.mix(functional.gelu(self.rhythm(code.rhythm) * (1 + gain) + shift))
        for conv in self.finer:
            h = conv(functional.gelu(functional.interpolate(h, scale_factor=2.0)))
        h = self.out(functional.interpolate(functional.gelu(h), scale_factor=2.0)).float()
        mean, log_scale = h.chunk(2, dim=1)
        return mean * MV_PER_UNIT, log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)


class RestingNetwork(nn.Module):
    """Encoder, type and statement heads, decoder. Works on any T that STRIDE divides."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        self.dims = dims
        stem, one, two, three = dims.channels
        features = 2 * dims.lstm_width
        self.stem = nn.Conv1d(24, stem, 11, 2, 5, bias=False)
        self.stem_norm = nn.BatchNorm1d(stem)
        self.blocks = nn.Sequential(
            Residual(stem, one, stride=2, kernel=7),
            Residual(one, two, stride=2, kernel=7),
            Residual(two, three, stride=1, kernel=5),
        )
        self.lstm = nn.LSTM(three, dims.lstm_width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dims.dropout)
        self.attention = GatedAttention(features, dims.attention_width, dims.n_types)
        self.type_weight = nn.Parameter(torch.randn(dims.n_types, features) * features**-0.5)
        self.type_bias = nn.Parameter(torch.full((dims.n_types,), -1.0))
        self.statements = nn.Linear((dims.n_types + 2) * features, dims.n_statements)
        self.rhythm = nn.Linear(features, dims.rhythm_width)
        self.morphology = nn.Linear(2 * features, dims.morphology_width)
        self.decoder = Decoder(dims)

    def forward(self, voltage_mv: Tensor, visible: Tensor) -> Reading:
        """Read `(B, 12, T)` millivolts; what `visible` `(B, 12, T)` denies is not looked at."""
        seen = functional.max_pool1d(visible.float().amax(dim=1, keepdim=True), STRIDE)[:, 0] > 0
        features = self._encode(voltage_mv, visible)
        spread = self._spread(features, seen)
        dropped = self.dropout(features)
        attention = self.attention(features, seen)
        pooled = torch.einsum("bts,bsf->btf", attention.to(dropped.dtype), dropped)
        type_logits = (pooled * self.type_weight).sum(dim=2) + self.type_bias
        together = torch.cat([pooled.flatten(1), self.dropout(spread)], dim=1)
        code = Code(
            rhythm=self._bounded(self.rhythm(features).transpose(1, 2)),
            morphology=self._bounded(self.morphology(spread)),
        )
        statement_logits = self.statements(together).float()
        return Reading(type_logits.float(), statement_logits, attention, pooled.float(), code)

    def restore(self, code: Code) -> tuple[Tensor, Tensor]:
        """Decode: mean in mV and log Laplace scale in units of MV_PER_UNIT, `(B, 12, T)` each."""
        mean, log_scale = self.decoder(code)
        return mean, log_scale

    def _encode(self, voltage_mv: Tensor, visible: Tensor) -> Tensor:
        shown = visible.to(voltage_mv.dtype)
        x = torch.cat([voltage_mv * shown / MV_PER_UNIT, shown], dim=1)
        x = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        features: Tensor = self.lstm(x.transpose(1, 2))[0]
        return features

    @staticmethod
    def _spread(features: Tensor, seen: Tensor) -> Tensor:
        """Mean and maximum over the steps that were seen, `(B, 2 F)`."""
        share = seen[:, :, None].to(features.dtype)
        mean = (features * share).sum(dim=1) / share.sum(dim=1).clamp(min=1)
        top = features.masked_fill(~seen[:, :, None], -1.0).amax(dim=1)
        return torch.cat([mean, top], dim=1)

    def _bounded(self, raw: Tensor) -> Tensor:
        """Squash into (-1, 1); noise in training keeps fine print from passing through."""
        code = torch.tanh(raw.float())
        if self.training:
            code = code + self.dims.code_noise * torch.randn_like(code)
        return code
