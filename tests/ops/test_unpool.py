"""Max pooling with indices against ONNX Runtime; unpooling and transposed convolution against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from cnnir.errors import ShapeError
from cnnir.ir import BATCH, Array, DType, Sample, TensorType
from cnnir.ops.conv_transpose import CONV_TRANSPOSE, ConvTransposeAttrs
from cnnir.ops.pool import PoolAttrs
from cnnir.ops.unpool import MAX_POOL_INDICES, MAX_UNPOOL, MaxUnpoolAttrs

POOLINGS = list(MAX_POOL_INDICES.samples(np.random.default_rng(7)))


@pytest.mark.parametrize("sample", POOLINGS, ids=range(len(POOLINGS)))
def test_maxima_and_indices_are_those_of_onnxruntime(sample: Sample[PoolAttrs]) -> None:
    (x,), a = sample.inputs, sample.attrs
    assert x is not None
    node = helper.make_node(
        "MaxPool",
        ["x"],
        ["y", "indices"],
        kernel_shape=a.kernel_size,
        strides=a.stride,
        pads=a.pads,
        dilations=a.dilation,
        ceil_mode=int(a.ceil_mode),
    )
    kinds = {"x": onnx.TensorProto.FLOAT, "y": onnx.TensorProto.FLOAT, "indices": onnx.TensorProto.INT64}
    info = {name: helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()}
    info["x"] = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)
    graph = helper.make_graph([node], "pool", [info["x"]], [info["y"], info["indices"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"x": x})
    ours = MAX_POOL_INDICES.reference(a, (x,))
    types = MAX_POOL_INDICES.infer(a, [TensorType(DType.F32, x.shape)])
    for one, other, type in zip(ours, theirs, types, strict=True):
        np.testing.assert_array_equal(one, other)
        assert type == TensorType(DType.of(other.dtype), other.shape)
    # What was the maximum is at its index.
    np.testing.assert_array_equal(x.reshape(-1)[ours[1]], ours[0])


def test_infinities_and_nan_have_a_place() -> None:
    x = np.full((1, 1, 2, 4), -np.inf)
    x[0, 0, 1, 3] = np.nan
    maxima, indices = MAX_POOL_INDICES.reference(PoolAttrs((2, 2), (2, 2)), (x,))
    np.testing.assert_array_equal(maxima.reshape(-1), [-np.inf, np.nan])
    assert indices.reshape(-1).tolist() == [0, 7]


def test_unpooling_is_that_of_pytorch() -> None:
    functional = pytest.importorskip("torch").nn.functional
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    for size, kernel, stride in (((8, 6), 2, 2), ((9, 7), 2, 2), ((9, 9), 3, 3)):
        x = torch.from_numpy(rng.standard_normal((2, 3, *size)))
        pooled, places = functional.max_pool2d(x, kernel, stride, return_indices=True)
        values = torch.from_numpy(rng.standard_normal(tuple(pooled.shape)))
        expected = functional.max_unpool2d(values, places, kernel, stride, output_size=size).numpy()
        _, indices = MAX_POOL_INDICES.reference(PoolAttrs((kernel,) * 2, (stride,) * 2), (x.numpy(),))
        out = tuple(n - (m - 1) * stride for n, m in zip(size, pooled.shape[2:], strict=True))
        attrs = MaxUnpoolAttrs((out[0], out[1]), (stride, stride))
        (y,) = MAX_UNPOOL.reference(attrs, (values.numpy(), indices))
        np.testing.assert_array_equal(y, expected)


def padded(attrs: ConvTransposeAttrs) -> list[int]:
    """PyTorch's padding that cuts off `pads`: negative, and the output padding as more on the right."""
    top, left, bottom, right = attrs.pads
    more = attrs.output_padding
    return [-left, more[1] - right, -top, more[0] - bottom]


def test_transposed_convolution_is_that_of_pytorch() -> None:
    torch: Any = pytest.importorskip("torch")
    for sample in CONV_TRANSPOSE.samples(np.random.default_rng(5)):
        a = sample.attrs
        arrays: list[Array | None] = [None if x is None else x.astype(np.float64) for x in sample.inputs]
        x, weight, bias = (None if x is None else torch.from_numpy(x) for x in arrays)
        y = torch.nn.functional.conv_transpose2d(x, weight, None, a.stride, groups=a.groups, dilation=a.dilation)
        y = torch.nn.functional.pad(y, padded(a))
        y = y if bias is None else y + bias[:, None, None]
        y = y if a.activation is None else y.relu()
        (ours,) = CONV_TRANSPOSE.reference(a, arrays)
        assert y.std() > 0.1
        assert np.abs(ours - y.numpy()).max() <= 1e-13 * float(y.abs().max())


def t(*dims: int, dtype: DType = DType.F32) -> TensorType:
    return TensorType(dtype, dims)


def test_the_unknown_batch_passes_through() -> None:
    twice = ConvTransposeAttrs((2, 2), (2, 2), groups=2)
    assert CONV_TRANSPOSE.infer(twice, [t(BATCH, 8, 7, 9), t(8, 3, 2, 2), None]) == (t(BATCH, 6, 14, 18),)
    pooled = MAX_POOL_INDICES.infer(PoolAttrs((2, 2), (2, 2)), [t(BATCH, 8, 7, 9)])
    assert pooled == (t(BATCH, 8, 3, 4), t(BATCH, 8, 3, 4, dtype=DType.I64))
    assert MAX_UNPOOL.infer(MaxUnpoolAttrs((3, 3), (2, 2)), pooled) == (t(BATCH, 8, 7, 9),)


INPUTS = [t(1, 4, 2, 2), t(4, 3, 2, 2), None]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ConvTransposeAttrs((3, 3), (2, 2), output_padding=(2, 0)),
         "Expected an output_padding below (2, 2), the larger of stride and dilation, got (2, 0)."),
        (lambda: ConvTransposeAttrs((2, 2), groups=0), "Expected groups of at least 1, got 0."),
        (lambda: CONV_TRANSPOSE.infer(ConvTransposeAttrs((2, 2), pads=(2, 1, 1, 0)), INPUTS),
         "Padding 2+1 leaves nothing of 3 pixels."),
        (lambda: CONV_TRANSPOSE.infer(ConvTransposeAttrs((2, 2), groups=3), INPUTS),
         "4 input channels do not divide into 3 groups."),
        (lambda: CONV_TRANSPOSE.infer(ConvTransposeAttrs((2, 2), groups=2), [t(1, 4, 2, 2), t(3, 4, 2, 2), None]),
         "Expected a weight of shape [4,O/2,2,2], got f32[3,4,2,2]."),
        (lambda: CONV_TRANSPOSE.infer(ConvTransposeAttrs((2, 2)), [t(1, 4, 2, 2), t(4, 3, 2, 2), t(4)]),
         "Expected a bias of shape [3], got f32[4]."),
        (lambda: MAX_UNPOOL.infer(MaxUnpoolAttrs((2, 2)), [t(1, 4, 2, 2), t(1, 4, 2, 2)]),
         "Expected indices of type i64[1,4,2,2] for values of type f32[1,4,2,2], got f32[1,4,2,2]."),
        (lambda: MaxUnpoolAttrs((1, 1), pads=(1, 1, 1, 1)).output((2, 2)),
         "Padding (1, 1, 1, 1) leaves nothing of the image that is unpooled."),
        (lambda: MAX_UNPOOL.reference(MaxUnpoolAttrs((2, 2)), (np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 4))),
         "Expected indices from 0 to 3, got 4 to 4."),
    ],
)  # fmt: skip
def test_refusals_are_sentences(make: Any, sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make()
    assert str(caught.value) == sentence
