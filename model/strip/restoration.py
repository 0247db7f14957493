"""Masked restoration of a normal beat, given the patient's own template.

Every second patch of the beat is hidden and restored from the others, the template and the timing;
then the other patches. Trained on normal beats only: what cannot be restored is unusual even for
someone whose usual beat is known. A plain autoencoder learns to copy ventricular beats; this one
never sees what it restores.
"""

import torch
from torch import Tensor, nn

from model.strip.inputs import N_RHYTHM, WINDOW

PATCH = 10  # samples hidden together: 0.1 s, a QRS
_CHANNELS = 24
_CODE = 8


class Restorer(nn.Module):
    """Narrow convolutions from 4 rows of a beat's window to the difference from its template."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv1d(3, _CHANNELS, 7, stride=2, padding=3),
            nn.ReLU(),
            nn.Conv1d(_CHANNELS, _CHANNELS, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(_CHANNELS, _CODE, 5, padding=2),
            nn.ReLU(),
        )
        self.timing = nn.Linear(N_RHYTHM, _CODE)
        self.up = nn.Sequential(
            nn.ConvTranspose1d(_CODE, _CHANNELS, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose1d(_CHANNELS, _CHANNELS, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(_CHANNELS, 1, 5, padding=2),
        )
        hidden = (torch.arange(WINDOW) // PATCH) % 2 == 0
        self.register_buffer("hidden", torch.stack([hidden, ~hidden]).float())

    def forward(self, shapes: Tensor, rhythm: Tensor) -> Tensor:
        """Restore `(n, 2, WINDOW)` shapes with `(n, N_RHYTHM)`: `(n, WINDOW)`, all of it hidden."""
        beat, rest = shapes[:, 0], shapes[:, 1]
        template = beat - rest
        restored = torch.zeros_like(beat)
        for hidden in self.get_buffer("hidden"):
            seen = torch.stack([rest * (1 - hidden), template, hidden.expand_as(beat)], dim=1)
            code = self.down(seen) + self.timing(rhythm)[:, :, None]
            restored = restored + hidden * (template + self.up(code)[:, 0])
        return restored

    def error(self, shapes: Tensor, rhythm: Tensor) -> Tensor:
        """Root mean square error `(n,)` in QRS heights."""
        difference = self(shapes, rhythm) - shapes[:, 0]
        return torch.sqrt(torch.mean(difference**2, dim=1) + 1e-6)
