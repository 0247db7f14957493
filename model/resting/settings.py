"""Sizes of the resting network, and what its training depends on. No torch here."""

from dataclasses import dataclass

from model.signal import RATE_HZ

STRIDE = 8  # samples a step: three halvings
STEP_S = STRIDE / RATE_HZ
SELECTED_BY = "macro_auroc_types"  # validation figure that picks the epoch
WINDOW = 1_000  # samples the network is trained on and asked about: 10 s
MV_PER_UNIT = 0.2  # standard deviation of PTB-XL, roughly: inside the network amplitudes are near 1


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the network; stored in every bundle."""

    n_types: int = 6
    n_statements: int = 71
    channels: tuple[int, int, int, int] = (48, 64, 128, 192)
    lstm_width: int = 128
    attention_width: int = 64
    rhythm_width: int = 2
    morphology_width: int = 32
    decoder_width: int = 64
    dropout: float = 0.3
    code_noise: float = 0.1


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides its data; written to settings.json."""

    epochs: int = 24
    seed: int = 0
    batch_size: int = 64
    max_lr: float = 2e-3
    weight_decay: float = 0.03
    warm_up: float = 0.2  # share of the steps with a rising rate
    crop_share: float = 0.75  # share of the epochs on crops
    crop: int = 512  # samples
    mixup: float = 0.2
    mask_share: float = 0.3
    lead_dropout: float = 0.25
    statement_weight: float = 4.0
    restoration_weight: float = 0.2
    clip_norm: float = 2.0
    ema_decay: float = 0.998
    patience: int = 10  # epochs without a better validation figure
