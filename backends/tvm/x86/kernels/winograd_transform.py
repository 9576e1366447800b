"""Short convolutions by polynomial interpolation: exact matrices, and their code with few operations.

F(m, r) computes m outputs of a filter of r taps with m + r - 1 products (Winograd, Arithmetic Complexity of
Computations, 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

Matrix = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Transform:
    """`y = AT ((G g) * (BT d))` for `outputs` outputs `y`, a filter `g` of `taps` taps and its input `d`.

    `points` are the distinct finite points of interpolation, the last one is infinity. Points that are sums of a
    few powers of two make AT and BT exact in float32.
    """

    outputs: int
    taps: int
    points: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if len(set(self.points)) != self.size - 1:
            raise ValueError(f"F({self.outputs}, {self.taps}) needs {self.size - 1} points, got {self.points}")

    @property
    def size(self) -> int:
        """Products, which is also the length of the input."""
        return self.outputs + self.taps - 1

    @property
    def at(self) -> Matrix:
        """`[outputs, size]`: the product polynomial's values become outputs."""
        return tuple(
            (*(p**i for p in self.points), Fraction(int(i == self.outputs - 1))) for i in range(self.outputs)
        )

    @property
    def g(self) -> Matrix:
        """`[size, taps]`: the filter's values at the points, with all the denominators."""
        rows = []
        for i, p in enumerate(self.points):
            others = [p - q for j, q in enumerate(self.points) if j != i]
            scale = Fraction(1)
            for difference in others:
                scale *= difference
            rows.append(tuple(p**k / scale for k in range(self.taps)))
        return (*rows, tuple(Fraction(int(k == self.taps - 1)) for k in range(self.taps)))

    @property
    def bt(self) -> Matrix:
        """`[size, size]`: row i holds the polynomial that vanishes at every other point."""
        rows = [_product([q for j, q in enumerate(self.points) if j != i]) for i in range(self.size - 1)]
        return (*((*row, Fraction(0)) for row in rows), _product(self.points))

    def filters(self, weight: NDArray[np.float32]) -> NDArray[np.float64]:
        """`G w G^T` over the last two axes, `[..., taps, taps]` to `[..., size, size]`, in float64."""
        g = floats(self.g)
        transformed: NDArray[np.float64] = g @ weight.astype(np.float64) @ g.T
        return transformed


def _product(roots: tuple[Fraction, ...] | list[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients, from the constant one, of the product of all (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [s - root * c for s, c in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return tuple(coefficients)


def floats(matrix: Matrix) -> NDArray[np.float64]:
    return np.array([[float(v) for v in row] for row in matrix])


@cache
def transform(outputs: int) -> Transform:
    """F(2, 3) or F(4, 3).

    The customary points 0, 1, -1, 2, -2 double the error of F(4, 3): with 5/8 and 3/2 it is 2.1 times that of the
    direct sum (relative RMS over 64 rectified channels: 6.7e-7, direct 3.2e-7, customary 1.45e-6).
    """
    near, far = Fraction(5, 8), Fraction(3, 2)
    points = {
        2: (Fraction(0), Fraction(1), Fraction(-1)),
        4: (Fraction(0), near, -near, far, -far),
    }
    return Transform(outputs, 3, points[outputs])


# -- code


def combination(terms: list[tuple[Fraction, str]], lanes: int) -> str:
    """TVMScript of a linear combination of vectors; a positive one begins where there is any."""
    present = sorted((t for t in terms if t[0]), key=lambda t: (t[0] < 0, abs(t[0]) != 1))
    text = ""
    for factor, name in present:
        product = name if abs(factor) == 1 else f"{_constant(abs(factor), lanes)} * {name}"
        if text:
            text += f" {'-' if factor < 0 else '+'} {product}"
        elif factor == -1:
            text = f"{_constant(Fraction(0), lanes)} - {product}"
        else:
            text = product if factor > 0 else f"{_constant(factor, lanes)} * {name}"
    return text


def _constant(value: Fraction, lanes: int) -> str:
    return f"T.broadcast(T.float32({float(value)}), {lanes})"


def input_code(t: Transform, inputs: list[str], lanes: int, prefix: str) -> tuple[list[str], list[str]]:
    """Lines and the expressions of `BT d`: rows of opposite points share their even and their odd part."""
    rows, lines = t.bt, list[str]()
    results = [""] * t.size
    for i, row in enumerate(rows):
        if results[i]:
            continue
        mirrored = tuple(v * (-1) ** k for k, v in enumerate(row))
        opposite = next((j for j in range(i + 1, t.size) if rows[j] in (mirrored, _negated(mirrored))), None)
        terms = list(zip(row, inputs, strict=True))
        if opposite is None:
            results[i] = combination(terms, lanes)
            continue
        parts = []
        for parity, label in enumerate("eo"):
            part = terms[parity::2]
            scale = next(f for f, _ in reversed(part) if f)
            lines.append(f"{prefix}{label}{i}: T.let = {combination([(f / scale, n) for f, n in part], lanes)}")
            parts.append((scale, f"{prefix}{label}{i}"))
        (even, e), (odd, o) = parts
        sign = 1 if rows[opposite] == mirrored else -1
        results[i] = combination([(even, e), (odd, o)], lanes)
        results[opposite] = combination([(sign * even, e), (-sign * odd, o)], lanes)
    return lines, results


def _negated(row: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    return tuple(-v for v in row)


def output_code(t: Transform, inputs: list[str], lanes: int, prefix: str) -> tuple[list[str], list[str]]:
    """Lines and the expressions of `AT m`: opposite points enter by their sum and their difference."""
    lines, columns = list[str](), list[tuple[int, str, str]]()
    done = set[int]()
    for i, p in enumerate(t.points):
        opposite = t.points.index(-p) if p and -p in t.points else i
        if i in done:
            continue
        done |= {i, opposite}
        if opposite == i:
            columns.append((i, inputs[i], inputs[i]))
            continue
        for label, sign in (("s", "+"), ("d", "-")):
            lines.append(f"{prefix}{label}{i}: T.let = {inputs[i]} {sign} {inputs[opposite]}")
        columns.append((i, f"{prefix}s{i}", f"{prefix}d{i}"))
    columns.append((t.size - 1, inputs[-1], inputs[-1]))
    results = [
        combination([(row[i], odd if k % 2 else even) for i, even, odd in columns], lanes)
        for k, row in enumerate(t.at)
    ]
    return lines, results
