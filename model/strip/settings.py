"""Sizes of the beat network, and what its training depends on. No torch here."""

from dataclasses import dataclass

SEQUENCE = 32  # beats the network sees at once
ATTENTION_STEPS = 10  # of a beat's window, 80 ms each


@dataclass(frozen=True)
class Dimensions:
    """Sizes of the network; stored in every bundle."""

    channels: tuple[int, int, int] = (32, 48, 64)
    code_width: int = 96
    lstm_width: int = 48
    attention_width: int = 32
    head_width: int = 64
    dropout: float = 0.3


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on besides its data; written to settings.json."""

    epochs: int = 12
    seed: int = 0
    steps: int = 70  # an epoch
    sequences: int = 20  # of annotated beats a step
    edited: int = 8  # of edited recordings
    strips: int = 16  # weakly labelled ones a step
    max_lr: float = 2e-3
    weight_decay: float = 0.03
    warm_up: float = 0.15  # share of the steps with a rising rate
    beat_weight: float = 1.0
    weak_weight: float = 0.5
    ectopy_weight: float = 0.2
    noise: float = 0.2  # QRS heights, the most that is added
    trait_dropout: float = 0.15
    shape_dropout: float = 0.1
    clip_norm: float = 2.0
    ema_decay: float = 0.995
