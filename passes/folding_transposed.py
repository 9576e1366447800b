"""The rule that moves a per-channel scale and shift into the transposed convolution before it."""

from __future__ import annotations

from typing import Any

from cnnir.ir import Array, ArrayData, Node, Operator
from cnnir.ops.conv_transpose import CONV_TRANSPOSE
from cnnir.ops.normalization import BATCH_NORM
from cnnir.passes.affine import affine_of, lazily, unfit_type
from cnnir.passes.editor import Editor
from cnnir.passes.pattern import Apply, Match, Miss, Rule, match


class IntoTransposed(Rule):
    """`batch_norm(conv_transpose(x))` to `conv_transpose'(x)`."""

    subject = "affine"
    near = 2  # the other rules speak for a normalisation behind anything else

    @property
    def roots(self) -> tuple[Operator[Any], ...]:
        return (BATCH_NORM,)

    def match(self, node: Node, edit: Editor) -> Match | Miss:
        return match(Apply("affine", (BATCH_NORM,), (Apply("layer", (CONV_TRANSPOSE,)),)), node, edit)

    def check(self, found: Match, edit: Editor) -> str | None:
        layer = found.nodes["layer"]
        attrs = CONV_TRANSPOSE.of(layer)
        assert attrs is not None
        if attrs.activation is not None:
            return f"'{layer.name}' has an activation in between"
        for value in layer.inputs[1:]:
            if value is not None and not value.is_constant:
                return f"'{value.name}' of '{layer.name}' is not a constant"
            if value is not None and (reason := unfit_type(value)):
                return reason
        affine = affine_of(found.root)
        return affine if isinstance(affine, str) else None

    def rewrite(self, found: Match, edit: Editor) -> str:
        layer, root = found.nodes["layer"], found.root
        attrs, result = CONV_TRANSPOSE.of(layer), affine_of(root)
        x, weight, bias = layer.inputs
        assert attrs is not None and weight is not None and not isinstance(result, str)
        affine, users = result[0], (layer, root)
        groups = attrs.groups

        def scaled(w: Array) -> Array:
            # [C, O/groups, KH, KW]: the filters of a group lie along axis 1 of its own channels.
            parts = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
            return (parts * affine.scale.reshape(groups, 1, -1, 1, 1)).reshape(w.shape)

        if affine.scales:
            weight = edit.constant(weight, lazily(weight, scaled), users)
        if bias is not None:
            bias = edit.constant(bias, lazily(bias, lambda b: b * affine.scale + affine.shift), users)
        else:
            array = affine.shift.astype(weight.type.dtype.numpy)
            bias = edit.new_constant(f"{layer.name}.bias", ArrayData(array))
        edit.replace(root, CONV_TRANSPOSE, attrs, [x, weight, bias], absorbed=(layer,), named=layer)
        return f"folded into '{layer.name}' before it"
