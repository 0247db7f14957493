"""A plain convolutional autoencoder of the whole ECG: no mask, no template, no labels."""

from torch import Tensor, nn

from model.resting.settings import MV_PER_UNIT

STRIDES = (2, 2, 2, 5)  # 1000 samples to 25 steps
CHANNELS = (32, 64, 64, 64)
CODE_CHANNELS = 8  # 200 numbers stand for 12 000 samples


class ConvolutionalAutoencoder(nn.Module):
    """Strided convolutions down to a narrow code, transposed ones back up."""

    def __init__(self) -> None:
        super().__init__()
        widths = (12, *CHANNELS)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for n_in, n_out, stride in zip(widths, widths[1:], STRIDES, strict=False):
            kernel = 2 * (stride // 2) + 5
            down += [nn.Conv1d(n_in, n_out, kernel, stride, kernel // 2), nn.BatchNorm1d(n_out)]
            down += [nn.ReLU()]
            raised = nn.ConvTranspose1d(
                n_out, n_in, kernel, stride, kernel // 2, output_padding=stride - 1
            )
            up = [raised, nn.BatchNorm1d(n_in), nn.ReLU(), *up]
        self.encoder = nn.Sequential(*down, nn.Conv1d(CHANNELS[-1], CODE_CHANNELS, 1))
        # The last layer is the waveform itself: neither normalised nor cut off at zero.
        self.decoder = nn.Sequential(nn.Conv1d(CODE_CHANNELS, CHANNELS[-1], 1), *up[:-2])

    def forward(self, voltage_mv: Tensor) -> Tensor:
        """Restore `(B, 12, 1000)` in mV."""
        restored: Tensor = self.decoder(self.encoder(voltage_mv / MV_PER_UNIT))
        return restored * MV_PER_UNIT
