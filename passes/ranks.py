"""How many components of a decomposition are kept: by energy, by error, by arithmetic, rounded for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cnnir.ir import Array


class By(StrEnum):
    """What an amount means: a share of the energy, a bound on the relative error, a share of the old MACs."""

    ENERGY = "energy"
    ERROR = "error"
    MACS = "macs"


@dataclass(frozen=True)
class Budget:
    """A rule for choosing ranks, made from a pass's options `by`, `amount` and `multiple`.

    energy: the smallest rank whose squared singular values make up `amount` of all (1 keeps everything).
    error: the smallest rank whose weights differ by at most `amount`, Frobenius norm over that of the old ones.
    macs: the largest rank that costs at most `amount` of the old arithmetic.
    """

    by: By
    amount: float
    multiple: int

    def __post_init__(self) -> None:
        if self.by is By.ERROR and not 0 <= self.amount < 1:
            raise ValueError(f"expected an error bound from 0 to below 1, got {self.amount:g}")
        if self.by is not By.ERROR and not 0 < self.amount <= 1:
            raise ValueError(f"expected a share of {self.by} above 0 and at most 1, got {self.amount:g}")
        if self.multiple < 1:
            raise ValueError(f"expected a multiple of at least 1, got {self.multiple}")

    @property
    def keeps_all(self) -> bool:
        """Whether nothing may be lost."""
        return (self.by is By.ENERGY and self.amount == 1) or (self.by is By.ERROR and self.amount == 0)

    def rank(self, values: Array, macs_a_rank: float, macs: float) -> int:
        """How many of the descending singular `values` to keep; 0 where the arithmetic allows not even one.

        `macs_a_rank` is what one component costs, `macs` what the layer costs now. Ranks by energy and error are
        rounded up to the multiple, ranks by MACs down; a rank is never more than there are values.
        """
        if self.by is By.MACS:
            rank = min(int(self.amount * macs / macs_a_rank + 1e-9), len(values))
            return rank // self.multiple * self.multiple or rank
        rank = len(values) if self.keeps_all else enough(values, self.lost)
        return min(len(values), -(-rank // self.multiple) * self.multiple)

    @property
    def lost(self) -> float:
        """The share of the energy that may be lost (by energy or error)."""
        return self.amount**2 if self.by is By.ERROR else 1 - self.amount


def enough(values: Array, lost: float) -> int:
    """The smallest rank, at least 1, without which at most the share `lost` of the squared values goes."""
    squares = values**2
    tail = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    return max(1, int(np.argmax(tail <= lost * tail[0])))
