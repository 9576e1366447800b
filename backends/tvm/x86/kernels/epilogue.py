"""What every kernel that writes an image does at the end: activation, masked channels, the zero halo."""

from __future__ import annotations

from dataclasses import dataclass

from cnnir.backends.tvm.activation import statements
from cnnir.backends.tvm.kernel import ImageBuffer
from cnnir.ops.activation import Activation
from cnnir.ops.spatial import Pads, Pair


@dataclass(frozen=True, slots=True)
class Statements:
    """Lines of TVMScript, and the expression that they prepare."""

    lines: list[str]
    result: str


@dataclass(frozen=True, slots=True)
class Border:
    """A run of halo pixels, written where `condition` holds: the i-th of `count` starts at `index` in its plane."""

    condition: str
    count: str
    index: str


def check_residual(output: ImageBuffer, residual: ImageBuffer | None) -> None:
    """`ValueError` unless the residual has the sizes of the output (its halo may differ)."""
    if residual is None:
        return
    sizes = [(b.batch, b.channels, b.height, b.width, b.block) for b in (output, residual)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the residual {residual} does not fit the output {output}")


def needs_mask(activation: Activation | None, output: ImageBuffer) -> bool:
    """Whether the activation would make the channels past the last nonzero."""
    return activation is not None and not activation.keeps_zero and output.channels % output.block != 0


def typed(coordinates: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Named TVMScript expressions, with plain numbers made 32-bit constants as `let` wants them."""
    return [(name, f"T.int32({value})" if value.isdigit() else value) for name, value in coordinates]


def activated(
    activation: Activation | None, x: str, lanes: int, prefix: str, mask: tuple[str, int] | None = None
) -> Statements:
    """The activation of the vector `x`; with `mask` (first channel of the vector, channels) zero past the last."""
    lines, result = ([], x) if activation is None else statements(activation, x, lanes, prefix)
    if mask is not None:
        first, channels = mask
        inside = f"T.ramp({first}, 1, {lanes}) < T.broadcast({channels}, {lanes})"
        result = f"T.Select({inside}, {result}, T.broadcast(T.float32(0), {lanes}))"
    return Statements(lines, result)


def borders(y: ImageBuffer, rows: str, row_tiles: int, column_tiles: int) -> list[Border]:
    """The halo around a tile of `rows` (TVMScript) rows from `h0`, in terms of tile numbers `row` and `column`.

    Each halo pixel belongs to exactly one tile: the rows above and below to the first column of tiles, the
    columns beside a row to the first and last tile of that row.
    """
    top, left, bottom, right = y.halo
    result = []
    if top:
        result.append(Border("row == 0 and column == 0", str(top * y.columns), f"i * {y.block}"))
    if bottom:
        index = f"{(top + y.height) * y.row_stride} + i * {y.block}"
        result.append(Border(f"row == {row_tiles - 1} and column == 0", str(bottom * y.columns), index))
    for width, tile, column in ((left, 0, 0), (right, column_tiles - 1, left + y.width)):
        if width:
            index = f"(h0 + {top} + i // {width}) * {y.row_stride} + ({column} + i % {width}) * {y.block}"
            result.append(Border(f"column == {tile}", f"{rows} * {width}", index))
    return result


def check_window_fits(
    x: ImageBuffer, y: ImageBuffer, kernel_size: Pair, stride: Pair, dilation: Pair, pads: Pads
) -> None:
    """`ValueError` unless windows over `x` with its halo give the pixels of `y`."""
    if any(p > h for p, h in zip(pads, x.halo, strict=True)):
        raise ValueError(f"pads {pads} reach past the input's halo {x.halo}")
    if x.batch != y.batch:
        raise ValueError(f"batch {x.batch} of the input, {y.batch} of the output")
    for axis, (size, out) in enumerate(((x.height, y.height), (x.width, y.width))):
        span = size + pads[axis] + pads[axis + 2] - dilation[axis] * (kernel_size[axis] - 1) - 1
        if span < 0 or span // stride[axis] + 1 != out:
            raise ValueError(f"the window gives {span // stride[axis] + 1} pixels along axis {axis + 2}, not {out}")
