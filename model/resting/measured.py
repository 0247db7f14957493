"""What a look of the network at ECGs gives, whichever runtime looked. No torch here."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the network makes of B windows; S = samples / STRIDE.

    Attributes:
        type_logits: `(B, 6)`.
        statement_logits: `(B, 71)`.
        attention: `(B, 6, S)`, sums to 1 over S.
        residual_mv: `(B, 12, S)` mean absolute restoration error of each step; 0 where unseen.
        pooled: `(B, 6, F)` features of the encoder as each type's attention averages them.
        restored_mv: `(B, 12, T)` what a normal heart of this rhythm and shape would have shown.
    """

    type_logits: Array
    statement_logits: Array
    attention: Array
    residual_mv: Array
    pooled: Array
    restored_mv: Array

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """All windows of the parts, in their order."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def rows(self, chosen: slice) -> Self:
        """Keep some windows."""
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})
