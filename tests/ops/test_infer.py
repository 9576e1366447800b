"""Types: what passes through with an unknown batch size, and what is refused, in which words."""

from typing import Any

import numpy as np
import pytest

from cnnir.errors import ShapeError
from cnnir.ir import BATCH, DType, Operator, TensorType, Window
from cnnir.ops import (
    activation,
    conv,
    dense,
    elementwise,
    normalization,
    operators,
    pool,
    quantize,
    reduce,
    shape,
    unpool,
)

N = BATCH


def t(*dims: int, dtype: DType = DType.F32) -> TensorType:
    return TensorType(dtype, dims)


@pytest.mark.parametrize(
    ("op", "attrs", "inputs", "expected"),
    [
        (conv.CONV, conv.ConvAttrs((3, 3), (2, 2), (1, 1, 1, 1)), [t(N, 3, 224, 224), t(64, 3, 3, 3), None, None],
         (N, 64, 112, 112)),
        (conv.CONV, conv.ConvAttrs((3, 3), groups=8), [t(N, 8, 5, 5), t(16, 1, 3, 3), t(16), None], (N, 16, 3, 3)),
        (pool.MAX_POOL, pool.PoolAttrs((3, 3), (2, 2), (1, 1, 1, 1)), [t(N, 64, 112, 112)], (N, 64, 56, 56)),
        (pool.MAX_POOL, pool.PoolAttrs((3, 3), (2, 2)), [t(N, 64, 112, 112)], (N, 64, 55, 55)),
        (pool.MAX_POOL, pool.PoolAttrs((3, 3), (2, 2), ceil_mode=True), [t(N, 64, 112, 112)], (N, 64, 56, 56)),
        # In ceil mode a window may not begin in the padding behind the image (PyTorch's rule).
        (pool.AVERAGE_POOL, pool.AveragePoolAttrs((1, 1), (2, 2), ceil_mode=True), [t(N, 4, 4, 4)], (N, 4, 2, 2)),
        (pool.GLOBAL_AVERAGE_POOL, activation.NoAttrs(), [t(N, 2048, 7, 7)], (N, 2048, 1, 1)),
        (dense.DENSE, dense.DenseAttrs(), [t(N, 2048), t(1000, 2048), t(1000)], (N, 1000)),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(N, 8, 4, 4), t(8, 1, 1)], (N, 8, 4, 4)),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(1, 8, 4, 4), t(N, 1, 1, 4)], (N, 8, 4, 4)),
        (elementwise.MUL, elementwise.BinaryAttrs(), [t(N, 8, 4, 4), t(N, 8, 1, 1)], (N, 8, 4, 4)),
        (elementwise.MUL, elementwise.BinaryAttrs(), [t(N, 8), t()], (N, 8)),
        (elementwise.PRELU, activation.NoAttrs(), [t(N, 8, 4, 4), t(8, 1, 1)], (N, 8, 4, 4)),
        (reduce.REDUCE_MEAN, reduce.ReduceAttrs((2, 3)), [t(N, 8, 4, 4)], (N, 8, 1, 1)),
        (reduce.REDUCE_MEAN, reduce.ReduceAttrs((-1, -2), False), [t(N, 8, 4, 4)], (N, 8)),
        (reduce.SOFTMAX, reduce.SoftmaxAttrs(), [t(N, 10)], (N, 10)),
        (shape.FLATTEN, shape.FlattenAttrs(), [t(N, 256, 6, 6)], (N, 9216)),
        (shape.FLATTEN, shape.FlattenAttrs(-2), [t(N, 1, 6, 6)], (N, 36)),
        (shape.RESHAPE, shape.ReshapeAttrs((0, -1)), [t(N, 256, 6, 6)], (N, 9216)),
        (shape.RESHAPE, shape.ReshapeAttrs((-1, 9216)), [t(N, 256, 6, 6)], (N, 9216)),
        (shape.RESHAPE, shape.ReshapeAttrs((0, 2, -1, 0)), [t(N, 8, 3, 5)], (N, 2, 12, 5)),
        (shape.RESHAPE, shape.ReshapeAttrs((-1, 0, 15)), [t(N, 8, 3, 5)], (N, 8, 15)),
        (shape.TRANSPOSE, shape.TransposeAttrs((0, 3, 1, 2)), [t(N, 224, 223, 3)], (N, 3, 224, 223)),
        (shape.CONCAT, shape.ConcatAttrs(), [t(N, 64, 55, 55), t(N, 32, 55, 55)], (N, 96, 55, 55)),
        (shape.SLICE, shape.SliceAttrs((1,), (0,), (2**63 - 1,), (2,)), [t(N, 7, 4, 4)], (N, 4, 4, 4)),
        (shape.SLICE, shape.SliceAttrs((-1,), (-1,), (-(2**63),), (-1,)), [t(N, 7)], (N, 7)),
        (shape.PAD, shape.PadAttrs((0, 0, 1, 2, 0, 0, 3, 4)), [t(N, 3, 8, 8)], (N, 3, 12, 14)),
        (shape.SQUEEZE, shape.AxesAttrs((2, 3)), [t(N, 8, 1, 1)], (N, 8)),
        (shape.UNSQUEEZE, shape.AxesAttrs((2, -1)), [t(N, 8)], (N, 8, 1, 1)),
        (quantize.DEQUANTIZE_LINEAR, quantize.QuantizeAttrs(), [t(N, 8, dtype=DType.I8), t(8), None], (N, 8)),
    ],
)  # fmt: skip
def test_the_unknown_batch_passes_through(
    op: Operator[Any], attrs: Any, inputs: list[TensorType | None], expected: tuple[int, ...]
) -> None:
    (out,) = op.infer(attrs, inputs)
    assert out.shape == expected
    assert op.infer(attrs, [x if x is None else x.with_batch(3) for x in inputs])[0] == out.with_batch(3)


@pytest.mark.parametrize(
    ("op", "attrs", "inputs", "sentence"),
    [
        (conv.CONV, conv.ConvAttrs((3, 3)), [t(N, 8), t(8, 8, 3, 3), None, None],
         "'Conv' needs a 4-D input (N, C, H, W), got f32[N,8]."),
        (conv.CONV, conv.ConvAttrs((3, 3)), [t(N, 8, 9, 9), t(8, 4, 3, 3), None, None],
         "Expected a weight of shape [O,8,3,3], got f32[8,4,3,3]."),
        (conv.CONV, conv.ConvAttrs((3, 3), groups=3), [t(N, 8, 9, 9), t(8, 4, 3, 3), None, None],
         "8 input channels do not divide into 3 groups."),
        (conv.CONV, conv.ConvAttrs((3, 3), groups=4), [t(N, 8, 9, 9), t(6, 2, 3, 3), None, None],
         "6 filters do not divide into 4 groups."),
        (conv.CONV, conv.ConvAttrs((3, 3)), [t(N, 8, 9, 9), t(4, 8, 3, 3), t(5), None],
         "Expected a bias of shape [4], got f32[5]."),
        (conv.CONV, conv.ConvAttrs((3, 3)), [t(N, 8, 9, 9), t(4, 8, 3, 3), None, t(N, 4, 9, 9)],
         "Expected a residual of type f32[N,4,7,7], got f32[N,4,9,9]."),
        (conv.CONV, conv.ConvAttrs((3, 3)), [t(N, 8, 9, 9), t(4, 8, 3, 3, dtype=DType.F64), None, None],
         "'Conv' needs operands of one element type, got f32[N,8,9,9] and f64[4,8,3,3]."),
        (conv.CONV, conv.ConvAttrs((5, 5)), [t(N, 3, 3, 8), t(4, 3, 5, 5), None, None],
         "The window does not fit: input 3 with padding 0+0 is smaller than kernel 5."),
        (conv.CONV, conv.ConvAttrs((3, 3), dilation=(4, 4)), [t(N, 3, 8, 8), t(4, 3, 3, 3), None, None],
         "The window does not fit: input 8 with padding 0+0 is smaller than kernel 3 dilated by 4."),
        (pool.MAX_POOL, pool.PoolAttrs((9, 9), pads=(0, 0, 1, 1)), [t(N, 3, 7, 7)],
         "The window does not fit: input 7 with padding 0+1 is smaller than kernel 9."),
        (pool.MAX_POOL, pool.PoolAttrs((2, 2), pads=(2, 0, 0, 0)), [t(N, 3, 7, 7)],
         "A pooling window lies wholly in the padding: input 7 with padding 2+0, kernel 2, stride 1."),
        (pool.GLOBAL_MAX_POOL, activation.NoAttrs(), [t(N, 3)],
         "'GlobalMaxPool' needs a 4-D input (N, C, H, W), got f32[N,3]."),
        (dense.DENSE, dense.DenseAttrs(), [t(N, 8, 1, 1), t(4, 8), None],
         "'Gemm' needs a 2-D input (N, K), got f32[N,8,1,1]."),
        (dense.DENSE, dense.DenseAttrs(), [t(N, 8), t(8, 4), None],
         "Expected a weight of shape [O,8], got f32[8,4]."),
        (dense.DENSE, dense.DenseAttrs(), [t(N, 8), t(4, 8), t(8)], "Expected a bias of shape [4], got f32[8]."),
        (normalization.BATCH_NORM, normalization.BatchNormAttrs(), [t(N, 8, 2, 2), t(8), t(8), t(7), t(8)],
         "Expected a mean of shape [8], got f32[7]."),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(N, 8, 4, 4), t(N, 8, 4, 5)],
         "'Add' cannot broadcast f32[N,8,4,4] with f32[N,8,4,5]: axis 3 does not fit."),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(N, 8), t(4, 8)],
         "'Add' cannot broadcast f32[N,8] with f32[4,8]: axis 0 does not fit while the batch size N is unknown."),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(2, 1, 8), t(N, 8)],
         "'Add' cannot broadcast f32[2,1,8] with f32[N,8]: the batch axis would not come first."),
        (elementwise.ADD, elementwise.BinaryAttrs(), [t(2, 8), t(2, 8, dtype=DType.I32)],
         "'Add' needs operands of one element type, got f32[2,8] and i32[2,8]."),
        (elementwise.PRELU, activation.NoAttrs(), [t(2, 8), t(3, 2, 8)],
         "Expected a slope that broadcasts to f32[2,8], got f32[3,2,8]."),
        (reduce.REDUCE_MEAN, reduce.ReduceAttrs((0,)), [t(N, 8)],
         "'ReduceMean' along axis 0 of f32[N,8] is not possible while the batch size N is unknown."),
        (reduce.REDUCE_MAX, reduce.ReduceAttrs((1, -1)), [t(2, 8)],
         "'ReduceMax' names an axis twice: [1, -1] of 2 dimensions."),
        (reduce.SOFTMAX, reduce.SoftmaxAttrs(2), [t(N, 8)],
         "'Softmax' names axis 2, but the input has 2 dimensions."),
        (shape.FLATTEN, shape.FlattenAttrs(2), [t(N, 8, 4)],
         "'Flatten' at axis 2 would mix the unknown batch size N of f32[N,8,4] with other dimensions."),
        (shape.FLATTEN, shape.FlattenAttrs(0), [t(N, 8)],
         "'Flatten' at axis 0 would mix the unknown batch size N of f32[N,8] with other dimensions."),
        (shape.RESHAPE, shape.ReshapeAttrs((0, 9)), [t(N, 8)],
         "8 elements of f32[N,8] do not fit into the shape [9]."),
        (shape.RESHAPE, shape.ReshapeAttrs((-1, 3)), [t(2, 8)],
         "16 elements of f32[2,8] do not fit into the shape [N,3]."),
        (shape.RESHAPE, shape.ReshapeAttrs((1, 8)), [t(N, 8)],
         "Reshape of f32[N,8] to [1, 8] needs a known batch size. Begin the shape with 0 to keep the batch."),
        (shape.RESHAPE, shape.ReshapeAttrs((2, 8, 0)), [t(2, 8)],
         "Reshape to [2, 8, 0] copies dimension 2, which f32[2,8] does not have."),
        (shape.TRANSPOSE, shape.TransposeAttrs((1, 0)), [t(N, 8)],
         "Transposing f32[N,8] by [1, 0] would move the unknown batch size off axis 0."),
        (shape.TRANSPOSE, shape.TransposeAttrs((1, 0)), [t(2, 8, 8)],
         "Expected a permutation of 3 axes for f32[2,8,8], got [1, 0]."),
        (shape.CONCAT, shape.ConcatAttrs(), [t(N, 8, 4, 4), t(N, 8, 4, 5)],
         "'Concat' along axis 1 cannot join f32[N,8,4,4] and f32[N,8,4,5]."),
        (shape.CONCAT, shape.ConcatAttrs(), [t(N, 8), t(N, 8, 4)],
         "'Concat' along axis 1 cannot join f32[N,8] and f32[N,8,4]."),
        (shape.CONCAT, shape.ConcatAttrs(0), [t(N, 8), t(N, 8)],
         "'Concat' along axis 0 of f32[N,8] is not possible while the batch size N is unknown."),
        (shape.SLICE, shape.SliceAttrs((1,), (5,), (5,), (1,)), [t(N, 8)],
         "The slice 5:5:1 leaves nothing of axis 1 of f32[N,8]."),
        (shape.SLICE, shape.SliceAttrs((0,), (0,), (1,), (1,)), [t(N, 8)],
         "'Slice' along axis 0 of f32[N,8] is not possible while the batch size N is unknown."),
        (shape.PAD, shape.PadAttrs((1, 0, 0, 0)), [t(N, 8)],
         "'Pad' of axis 0 of f32[N,8] is not possible while the batch size N is unknown."),
        (shape.PAD, shape.PadAttrs((1, 0)), [t(2, 8)], "Expected 4 pads for f32[2,8], got 2."),
        (shape.SQUEEZE, shape.AxesAttrs((1,)), [t(N, 8)],
         "'Squeeze' needs axis 1 of f32[N,8] to have length 1, got 8."),
        (shape.UNSQUEEZE, shape.AxesAttrs((0,)), [t(N, 8)],
         "'Unsqueeze' before axis 0 of f32[N,8] is not possible while the batch size N is unknown."),
        (quantize.QUANTIZE_LINEAR, quantize.QuantizeAttrs(), [t(N, 8), t(4), None],
         "Expected a scale of shape [] or [8] for axis 1, got f32[4]."),
        (quantize.QUANTIZE_LINEAR, quantize.QuantizeAttrs(), [t(N, 8), t(), t(dtype=DType.I32)],
         "Expected a zero point of type i8 or u8, got i32[]."),
        (quantize.DEQUANTIZE_LINEAR, quantize.QuantizeAttrs(), [t(N, 8), t(), None],
         "'DequantizeLinear' needs an input of type i8, u8 or i32, got f32[N,8]."),
    ],
)  # fmt: skip
def test_refusals_are_sentences(
    op: Operator[Any], attrs: Any, inputs: list[TensorType | None], sentence: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        op.infer(attrs, inputs)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: conv.ConvAttrs((3, 0)), "Expected kernel_size as two positive integers, got (3, 0)."),
        (lambda: conv.ConvAttrs((3, 3), groups=0), "Expected groups of at least 1, got 0."),
        (lambda: conv.ConvAttrs((3, 3), pads=(0, -1, 0, 0)),
         "Expected pads as four integers of at least 0, got (0, -1, 0, 0)."),
        (lambda: pool.PoolAttrs((3, 3), (2,)), "Expected stride as two positive integers, got (2,)."),  # type: ignore[arg-type]
        (lambda: activation.ClipAttrs(6, 0), "Clip needs min <= max, got 6 and 0."),
        (lambda: normalization.BatchNormAttrs(-1.0), "Expected an epsilon of at least 0, got -1.0."),
        (lambda: normalization.LrnAttrs(0), "Expected a size of at least 1 channel, got 0."),
        (lambda: reduce.ReduceAttrs(()), "'axes' needs at least one axis."),
        (lambda: reduce.ReduceAttrs((1, 1)), "'axes' names an axis twice: [1, 1]."),
        (lambda: shape.DropoutAttrs(1.5), "Expected a dropout ratio between 0 and 1, got 1.5."),
        (lambda: shape.ReshapeAttrs((-1, -1)), "A reshape can leave one dimension (-1) open, got [-1, -1]."),
        (lambda: shape.ReshapeAttrs((-2, 3)), "Expected dimensions of at least -1, got [-2, 3]."),
        (lambda: shape.TransposeAttrs((0, 0)), "Expected a permutation of the axes, got [0, 0]."),
        (lambda: shape.SliceAttrs((1,), (0, 1), (1,), (1,)),
         "Expected as many starts, ends and steps as axes, got 2, 1, 1 for 1 axes."),
        (lambda: shape.SliceAttrs((1,), (0,), (1,), (0,)), "A slice cannot step by 0."),
        (lambda: shape.PadAttrs((1, -1)), "Expected two pads of at least 0 for every axis, got [1, -1]."),
    ],
)  # fmt: skip
def test_impossible_attributes_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ShapeError) as caught:
        make()
    assert str(caught.value) == sentence


@pytest.mark.parametrize("op", list(operators()), ids=lambda op: op.name)
def test_costs_scale_with_the_batch(op: Operator[Any]) -> None:
    """Four images cost four times one image, whatever the operator."""
    for sample in op.samples(np.random.default_rng(0)):
        types = [None if x is None else TensorType(DType.of(x.dtype), x.shape) for x in sample.inputs]
        first = types[0]
        assert first is not None
        if first.rank < 2 or isinstance(op, elementwise.BinaryOperator | shape.Transpose | shape.Reshape):
            continue
        if op in (shape.FLATTEN, quantize.QUANTIZE_LINEAR, quantize.DEQUANTIZE_LINEAR):
            continue
        ports = range(len(types)) if op in (shape.CONCAT, unpool.MAX_UNPOOL) else [0, 3]
        four = [
            TensorType(x.dtype, (4 * x.shape[0], *x.shape[1:])) if x is not None and i in ports else x
            for i, x in enumerate(types)
        ]
        if op is normalization.BATCH_NORM:
            four = [four[0], *types[1:]]
        one, more = (op.cost(sample.attrs, x, op.infer(sample.attrs, x)) for x in (types, four))
        assert (more.macs, more.flops) == (4 * one.macs, 4 * one.flops)


def test_nan_goes_through_maxima() -> None:
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 1, 1] = np.nan
    (pooled,) = pool.MAX_POOL.reference(pool.PoolAttrs((2, 2), (2, 2)), (x,))
    assert np.isnan(pooled).tolist() == [[[[True, False], [False, False]]]]
    assert np.isnan(activation.RELU.reference(activation.NoAttrs(), (x,))[0]).sum() == 1
    assert np.isnan(pool.GLOBAL_MAX_POOL.reference(activation.NoAttrs(), (x,))[0]).all()


def test_max_pool_of_integers_ignores_the_padding() -> None:
    x = np.full((1, 1, 2, 2), -100, np.int8)
    (y,) = pool.MAX_POOL.reference(pool.PoolAttrs((3, 3), pads=(1, 1, 1, 1)), (x,))
    assert y.dtype == np.int8
    assert (y == -100).all()


def test_quantisation_rounds_halves_to_even_and_saturates() -> None:
    x = np.array([[-300.0, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 300.0]])
    one = np.array(1.0)
    (y,) = quantize.QUANTIZE_LINEAR.reference(quantize.QuantizeAttrs(), (x, one, np.array(0, np.int8)))
    assert y.tolist() == [[-128, -2, -2, 0, 0, 2, 2, 127]]
    (y,) = quantize.QUANTIZE_LINEAR.reference(quantize.QuantizeAttrs(), (x, one, np.array(10, np.uint8)))
    assert y.tolist() == [[0, 8, 8, 10, 10, 12, 12, 255]]


def test_integer_division_truncates() -> None:
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    assert elementwise.DIV.reference(elementwise.BinaryAttrs(), (a, b))[0].tolist() == [3, -3, -3, 3]


def test_windows() -> None:
    image = t(N, 8, 14, 15)
    assert pool.GLOBAL_AVERAGE_POOL.window(activation.NoAttrs(), [image]) == Window((14, 15))
    assert reduce.REDUCE_MEAN.window(reduce.ReduceAttrs((-1,)), [image]) == Window((1, 15))
    assert reduce.SOFTMAX.window(reduce.SoftmaxAttrs(1), [image]) is None
    assert shape.FLATTEN.window(shape.FlattenAttrs(), [image]) == Window((14, 15))
    assert shape.RESHAPE.window(shape.ReshapeAttrs((0, 2, 4, 14, 15)), [image]) is None
    assert shape.TRANSPOSE.window(shape.TransposeAttrs((0, 2, 3, 1)), [image]) == Window((14, 15))
    assert pool.MAX_POOL.window(pool.PoolAttrs((3, 2), (2, 1), (1, 0, 0, 0)), [image]) == Window(
        (3, 2), (2, 1), (1, 1), (1, 0)
    )
