"""The beat network: convolutions with attention over a beat, a BiLSTM with attention over beats.

One lead at a time, with the mean traits of all leads beside its own: a ventricular beat may look
usual in one lead. Whoever has several leads averages the log probabilities. About 0.12 million
parameters.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.findings import AAMI_CLASSES
from model.strip.inputs import N_RHYTHM, N_TRAITS
from model.strip.settings import Dimensions

_HIDDEN = -30.0  # an attention energy next to nothing, finite for the exported graph


class Reading(NamedTuple):
    """What the network says of B sequences of T beats.

    Attributes:
        logits: `(B, T, 5)` by AAMI_CLASSES.
        attention: `(B, T)` over the sequence, sums to 1.
        ectopy: `(B,)` log odds that the sequence holds an ectopic beat, by what was attended to.
    """

    logits: Tensor
    attention: Tensor
    ectopy: Tensor


class GatedAttention(nn.Module):
    """Weights over the last but one axis (Ilse et al., ICML 2018)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, codes: Tensor, present: Tensor | None = None) -> Tensor:
        """`(..., T)` of codes `(..., T, width)`; what is not `present` gets nothing."""
        energy = self.score(torch.tanh(self.value(codes)) * torch.sigmoid(self.gate(codes)))
        energy = energy.squeeze(-1)
        if present is not None:
            energy = torch.where(present, energy, torch.full_like(energy, _HIDDEN))
        weights: Tensor = energy.softmax(dim=-1)
        return weights


class BeatEncoder(nn.Module):
    """One beat's window, traits and rhythm to a code."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width_in, width, kernel in zip(
            (2, *dims.channels), dims.channels, (7, 5, 5), strict=False
        ):
            layers += [
                nn.Conv1d(width_in, width, kernel, stride=2, padding=kernel // 2, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.attention = GatedAttention(dims.channels[-1], dims.attention_width)
        self.code = nn.Sequential(
            nn.Linear(2 * dims.channels[-1] + 2 * N_TRAITS + N_RHYTHM, dims.code_width),
            nn.GELU(),
            nn.Dropout(dims.dropout),
            nn.Linear(dims.code_width, dims.code_width),
            nn.GELU(),
        )

    def forward(self, shapes: Tensor, traits: Tensor, rhythm: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `(n, width)` and attention `(n, ATTENTION_STEPS)` of `(n, 2, WINDOW)` and so on."""
        steps = self.convolutions(shapes).transpose(1, 2)
        attention = self.attention(steps)
        attended = (attention[..., None] * steps).sum(dim=1)
        parts = [attended, steps.amax(dim=1), traits, rhythm]
        return self.code(torch.cat(parts, dim=1)), attention


class BeatNetwork(nn.Module):
    """Beats in their sequence."""

    def __init__(self, dims: Dimensions) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = BeatEncoder(dims)
        self.attention = GatedAttention(dims.code_width, dims.attention_width)
        self.ectopy = nn.Linear(dims.code_width, 1)
        self.lstm = nn.LSTM(dims.code_width, dims.lstm_width, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(
            nn.Dropout(dims.dropout),
            nn.Linear(2 * dims.code_width + 2 * dims.lstm_width, dims.head_width),
            nn.GELU(),
            nn.Dropout(dims.dropout),
            nn.Linear(dims.head_width, len(AAMI_CLASSES)),
        )

    def forward(self, shapes: Tensor, traits: Tensor, rhythm: Tensor, present: Tensor) -> Reading:
        """Read `(B, T, 2, WINDOW)`, `(B, T, 2 * N_TRAITS)`, `(B, T, N_RHYTHM)`, `(B, T)` bool."""
        codes, _ = self.encoder(shapes.flatten(0, 1), traits.flatten(0, 1), rhythm.flatten(0, 1))
        return self.in_order(codes.view(*present.shape, -1), present)

    def in_order(self, codes: Tensor, present: Tensor) -> Reading:
        """Read the encoder's codes `(B, T, width)`; those of absent beats do not count."""
        codes = codes * present[..., None]
        weights = self.attention(codes, present)
        context = (weights[..., None] * codes).sum(dim=1)
        along, _ = self.lstm(codes)
        beside = context[:, None].expand(-1, codes.shape[1], -1)
        logits = self.head(torch.cat([codes, along, beside], dim=2))
        return Reading(logits, weights, self.ectopy(context).squeeze(-1))
