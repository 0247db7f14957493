"""What a look of the network at ECGs gives, whichever runtime looked. No torch here."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MIN_SIZE_MV = 0.005  # mean |voltage| below which an ECG has nothing to restore


@dataclass(frozen=True, eq=False)
class Measured:
    """What the network makes of B windows; S = samples / STRIDE.

    Attributes:
        type_logits: `(B, 6)`.
        statement_logits: `(B, 71)`.
        attention: `(B, 6, S)`, sums to 1 over S.
        residual_mv: `(B, 12, S)` mean absolute restoration error of each step; 0 where unseen.
        misfit: `(B,)` summed restoration error over summed voltage, both absolute; 0 is perfect,
            1 is as good as a flat line.
        morphology: `(B, morphology_width)` the code's constant part.
    """

    type_logits: Array
    statement_logits: Array
    attention: Array
    residual_mv: Array
    misfit: Array
    morphology: Array

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All windows of the parts, in their order."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})
