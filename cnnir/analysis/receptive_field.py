"""What part of the input image one pixel of a value depends on.

Source of the arithmetic: Araujo, Norris & Sim, "Computing Receptive Fields of Convolutional Neural Networks"
(Distill, 2019), here with integer offsets of the first pixel instead of centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnnir.errors import CnnirError
from cnnir.ir import Graph, Node, Value, Window
from cnnir.ops.shape import TRANSPOSE
from cnnir.ops.unpool import MAX_UNPOOL


@dataclass(frozen=True, slots=True)
class AxisField:
    """Along one axis: pixel i sees the input pixels `offset + i * stride` .. `+ size - 1`.

    The field may reach into the padding (a negative offset, or past the end). A stride of 0 means that every
    pixel sees the same part of the image; that one is cut to the image.
    """

    size: int = 1
    stride: int = 1
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """Height and width."""

    height: AxisField
    width: AxisField

    @property
    def size(self) -> tuple[int, int]:
        return self.height.size, self.width.size

    @property
    def stride(self) -> tuple[int, int]:
        return self.height.stride, self.width.stride

    @property
    def offset(self) -> tuple[int, int]:
        return self.height.offset, self.width.offset

    def as_dict(self) -> dict[str, list[int]]:
        return {"size": list(self.size), "stride": list(self.stride), "offset": list(self.offset)}


def receptive_fields(graph: Graph) -> dict[str, ReceptiveField]:
    """The receptive field of every value that depends on an image, by the name of the value.

    Images are the graph's inputs of four dimensions, `[N, C, H, W]`, or `[N, H, W, C]` where nothing but
    transpositions to the former read them. Branches are joined to the smallest field that covers them all. Once
    an image is flattened or pooled globally, every element sees all that its pixels saw.

    Raises:
        CnnirError: the graph has image inputs of different sizes.
    """
    sources = {v: size for v in graph.inputs if (size := _image_size(v)) is not None}
    if len(set(sources.values())) > 1:
        raise CnnirError(
            f"Receptive fields need one image size, got {', '.join(map(str, sources))}.",
            at=f"graph '{graph.name}'",
        )
    if not sources:
        return {}
    image = next(iter(sources.values()))
    start = ReceptiveField(AxisField(), AxisField())
    fields: dict[Value, ReceptiveField] = dict.fromkeys(sources, start)
    for node in graph.nodes:
        seen = [(v, fields[v]) for v in node.inputs if v is not None and v in fields]
        if not seen:
            continue
        # Only the first input goes through the window (a residual joins behind it), or all of a variadic port.
        windowed = node.inputs if node.op.ports[-1].variadic or node.op is MAX_UNPOOL else node.inputs[:1]
        joined: list[tuple[Value, ReceptiveField]] = []
        for value, field in seen:
            window = _window(node, sources) if value in windowed else None
            joined.append((value, field if window is None else _through(window, field, value, node, image)))
        height = _join([(f.height, v.type.shape[-2] if v.type.rank >= 4 else 1) for v, f in joined], image[0])
        width = _join([(f.width, v.type.shape[-1] if v.type.rank >= 4 else 1) for v, f in joined], image[1])
        fields.update(dict.fromkeys(node.outputs, ReceptiveField(height, width)))
    return {value.name: field for value, field in fields.items()}


def _to_nchw(node: Node) -> bool:
    attrs = TRANSPOSE.of(node)
    return attrs is not None and attrs.perm == (0, 3, 1, 2)


def _image_size(value: Value) -> tuple[int, int] | None:
    if value.type.rank != 4:
        return None
    _, *axes = value.type.shape
    if value.uses and all(_to_nchw(node) for node, _ in value.uses):
        return axes[0], axes[1]
    return axes[1], axes[2]


def _window(node: Node, sources: dict[Value, tuple[int, int]]) -> Window | None:
    if _to_nchw(node) and node.inputs[0] in sources:
        return None
    return node.op.window(node.attrs, [None if v is None else v.type for v in node.inputs])


def _through(
    window: Window, field: ReceptiveField, value: Value, node: Node, image: tuple[int, int]
) -> ReceptiveField:
    out = node.outputs[0].type.shape
    axes = []
    for i, axis in enumerate((field.height, field.width)):
        if window.upsample != (1, 1):
            axes.append(_spread(window, axis, i, value.type.shape[i - 2], image[i]))
            continue
        extent = (window.kernel[i] - 1) * window.dilation[i] + 1
        size = axis.size + (extent - 1) * axis.stride
        offset = axis.offset - window.pads[i] * axis.stride
        length = out[i - 2] if len(out) >= 4 else 1
        # A window over the whole axis: a global pool, or an operator that rearranges pixels.
        if (length == 1 or window.pads[i] == 0) and extent - window.pads[i] >= value.type.shape[i - 2]:
            axes.append(_cut(offset, offset + size, image[i]))
        else:
            axes.append(AxisField(size, axis.stride * window.stride[i], offset))
    return ReceptiveField(*axes)


def _spread(window: Window, axis: AxisField, i: int, length: int, image: int) -> AxisField:
    """Through a transposed window: pixel o sees the input pixels from (o + pad - extent + 1) / upsample up to
    (o + pad) / upsample, rounded inwards; the field is the smallest that shifts evenly and covers them all."""
    extent = (window.kernel[i] - 1) * window.dilation[i] + 1
    step, rest = divmod(axis.stride, window.upsample[i])
    if rest:
        return _cut(axis.offset, axis.offset + (length - 1) * axis.stride + axis.size, image)
    return AxisField(axis.size + (extent - 1) * step, step, axis.offset + (window.pads[i] - extent + 1) * step)


def _cut(begin: int, end: int, image: int) -> AxisField:
    begin, end = max(begin, 0), min(end, image)
    return AxisField(end - begin, 0, begin)


def _join(fields: Sequence[tuple[AxisField, int]], image: int) -> AxisField:
    """The smallest field that covers all of them; each comes with the length of its value along the axis."""
    axes = {axis for axis, _ in fields}
    if len(axes) == 1:
        return axes.pop()
    strides = {axis.stride for axis in axes}
    if len(strides) == 1 and 0 not in strides:
        begin = min(axis.offset for axis in axes)
        return AxisField(max(axis.offset + axis.size for axis in axes) - begin, strides.pop(), begin)
    # Different strides meet where one side is broadcast: then every pixel may see what any of them sees.
    begin = min(axis.offset for axis in axes)
    end = max(axis.offset + (length - 1) * axis.stride + axis.size for axis, length in fields)
    return _cut(begin, end, image)
