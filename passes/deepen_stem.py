"""The deep stem: ResNet variant b to variant c."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnnir.ir import Array, Graph, Node, Value
from cnnir.ops.activation import RELU, NoAttrs
from cnnir.ops.conv import CONV, ConvAttrs
from cnnir.ops.normalization import BATCH_NORM
from cnnir.passes.base import RETRAIN, Contract, Pass, Report
from cnnir.passes.editor import Editor
from cnnir.passes.registry import register
from cnnir.passes.surgery import conv_of, float64, only_reader, rename, rounded, stem_of, unit_norm

_OLD = ConvAttrs((7, 7), (2, 2), (3, 3, 3, 3))
_FIRST = ConvAttrs((3, 3), (2, 2), (1, 1, 1, 1))
_NEXT = ConvAttrs((3, 3), (1, 1), (1, 1, 1, 1))
_FLOATS = ("f32", "f64")


@register
@dataclass(frozen=True)
class DeepenStem(Pass):
    """Puts three 3x3 convolutions in the place of the 7x7 convolution that reads the image.

    Given:  y = Conv_7x7(image, w, stride 2, padding 3)
    Result: y = Conv_3x3(ReLU(norm(Conv_3x3(ReLU(norm(Conv_3x3(image, stride 2)))))))

    The first two have `width` filters, the last as many as there were. `norm` is batch normalisation where one
    follows the old convolution, else a bias. Layers are numbered as in a Sequential: `conv1.0` to `conv1.6`.

    The new weights come as near to the old function as that form allows. Half of the filters of the first two
    layers are those of a linear stack, the other half their negatives, and `relu(u) - relu(-u) = u` makes the ReLUs
    vanish. The linear stack: the principal 3x3 patches of the old filters' principal components, then least
    squares for the second layer and, over the whole 11x11 field, for the third. What remains is the energy of the
    old filters that the report gives, and a pixel at the border, where the inner layers pad with zeros.
    """

    width: int = 32

    name: ClassVar[str] = "deepen-stem"
    contract: ClassVar[Contract] = RETRAIN
    source: ClassVar[str] = (
        "He et al. 2019, Bag of Tricks, section 4.1, ResNet-C; Szegedy et al. 2016, Inception-v3"
    )

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2:
            raise ValueError(f"expected an even width of at least 2, got {self.width}")

    def run(self, graph: Graph, report: Report) -> None:
        with Editor(graph) as edit:
            for node in list(graph.nodes):
                attrs = CONV.of(node)
                if attrs is None or node.inputs[0] not in graph.inputs or max(attrs.kernel_size) < 5:
                    continue
                if reason := _unfit(node):
                    report.declined(node.name, reason)
                else:
                    self._deepen(node, graph, edit, report)

    def _deepen(self, node: Node, graph: Graph, edit: Editor, report: Report) -> None:
        x, bias = node.inputs[0], node.inputs[2]
        assert x is not None
        dtype, name, stem = x.type.dtype, node.name, stem_of(node)
        reader = only_reader(node.output, graph)
        norm = None if reader is None else BATCH_NORM.of(reader)
        first, second, third, kept = deep_stem_weights(float64(node.inputs[1]), self.width)

        new: list[str] = []
        place = 0

        def convolution(weight: Array, attrs: ConvAttrs, value: Value) -> Node:
            nonlocal place
            inputs: list[Value | None] = [
                value,
                edit.new_constant(f"{stem}.{place}.weight", rounded(weight, dtype)),
            ]
            inputs.append(
                edit.new_constant(f"{stem}.{place}.bias", rounded(np.zeros(len(weight)), dtype))
                if norm is None
                else None
            )
            made = edit.insert(node, CONV, attrs, [*inputs, None], f"{name}.{place}")
            new.extend(v.name for v in inputs[1:] if v is not None)
            place += 1
            return made

        value = x
        for weight, attrs in ((first, _FIRST), (second, _NEXT)):
            made = convolution(weight, attrs, value)
            if norm is not None:
                made = unit_norm(edit, node, made.output, f"{name}.{place}", f"{stem}.{place}", norm)
                new.extend(v.name for v in made.inputs[1:3] if v is not None)
                place += 1
            value = edit.insert(node, RELU, NoAttrs(), [made.output], f"{name}.{place}").output
            place += 1
        weight_value = edit.new_constant(f"{stem}.{place}.weight", rounded(third, dtype))
        new.append(weight_value.name)
        if bias is not None:
            bias = edit.constant(bias, rounded(float64(bias), dtype), [node])
            if bias.name == f"{stem}.bias":
                bias.name = edit.fresh_name(f"{stem}.{place}.bias")
        last = edit.replace(node, CONV, _NEXT, [value, weight_value, bias, None])
        rename(last, edit.fresh_name(f"{name}.{place}"))
        names = ", ".join(f"'{n}'" for n in new)
        report.rewrote(
            name,
            f"deepened to '{name}.0' ... '{last.name}'; initialised by least squares, {kept:.1%} of the old "
            f"filters' energy kept: {names}",
        )


def _unfit(node: Node) -> str | None:
    attrs = conv_of(node)
    if attrs.kernel_size != (7, 7):
        size = "x".join(map(str, attrs.kernel_size))
        return f"has a kernel of {size}, not 7x7"
    if attrs.stride != (2, 2):
        return f"has the stride {attrs.stride[0]}x{attrs.stride[1]}, not 2x2"
    if attrs.pads != (3, 3, 3, 3):
        return "does not pad by 3 on every side"
    if attrs != _OLD:
        return "is dilated, grouped or carries an activation"
    if node.inputs[3] is not None:
        return "adds a residual"
    if any(v is not None and not v.is_constant for v in node.inputs[1:3]):
        return "has a weight or bias that is not a constant"
    weight = node.inputs[1]
    assert weight is not None
    return None if weight.type.dtype in _FLOATS else f"'{weight.name}' is {weight.type.dtype}, expected f32 or f64"


def deep_stem_weights(old: Array, width: int) -> tuple[Array, Array, Array, float]:
    """Weights of the three 3x3 convolutions for a 7x7 one `[O, C, 7, 7]`, and the share of its energy they keep."""
    filters, channels = old.shape[:2]
    half = width // 2
    rng = np.random.default_rng(0)
    matrix = old.reshape(filters, -1)
    wanted = _basis(matrix, half, rng).reshape(half, channels, 7, 7)
    patches = [wanted[:, :, i : i + 3, j : j + 3] for i in (0, 2, 4) for j in (0, 2, 4)]
    weights = np.linalg.norm(matrix @ wanted.reshape(half, -1).T, axis=0)[:, None]
    first = _basis(np.concatenate([weights * p.reshape(half, -1) for p in patches]), half, rng)
    first = first.reshape(half, channels, 3, 3)
    second = _fit(first, wanted)
    inner = _compose(first, second)
    target = np.pad(old, ((0, 0), (0, 0), (2, 2), (2, 2)))
    third = _fit(inner, target)
    error = np.sum((_compose(inner, third) - target) ** 2)
    energy = np.sum(old**2)
    kept = 1.0 - float(error / energy) if energy else 1.0
    signed = np.concatenate([first, -first])
    return signed, _mirrored(second, both=True), _mirrored(third, both=False), kept


def _basis(matrix: Array, count: int, rng: np.random.Generator) -> Array:
    """The `count` principal directions of the rows; where there are fewer, random ones of length 1 after them."""
    _, values, directions = np.linalg.svd(matrix, full_matrices=False)
    rank = min(count, int(np.sum(values > values[:1] * 1e-12)))
    random = rng.normal(size=(count - rank, matrix.shape[1]))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    return np.concatenate([directions[:rank], random])


def _shifted(inner: Array) -> Array:
    """Every inner kernel at each of the nine places that a 3x3 kernel after it gives it, two pixels apart."""
    n, channels, h, w = inner.shape
    out = np.zeros((n, 3, 3, channels, h + 4, w + 4))
    for i in range(3):
        for j in range(3):
            out[:, i, j, :, 2 * i : 2 * i + h, 2 * j : 2 * j + w] = inner
    return out


def _fit(inner: Array, target: Array) -> Array:
    """The 3x3 weights after `inner` for which the composition is nearest to `target`."""
    columns = _shifted(inner).reshape(inner.shape[0] * 9, -1).T
    solution = np.linalg.lstsq(columns, target.reshape(len(target), -1).T, rcond=1e-10)[0]
    return solution.T.reshape(len(target), len(inner), 3, 3)


def _compose(inner: Array, outer: Array) -> Array:
    """The kernel of a 3x3 convolution `outer` after one of kernel `inner` and stride 2."""
    return np.tensordot(outer, _shifted(inner), axes=([1, 2, 3], [0, 1, 2]))


def _mirrored(weight: Array, *, both: bool) -> Array:
    """Reads `u` as the difference of its positive and its negative part; `both` negates the output, too."""
    reads: Sequence[Array] = (weight, -weight)
    signed = np.concatenate(reads, axis=1)
    return np.concatenate([signed, -signed]) if both else signed
