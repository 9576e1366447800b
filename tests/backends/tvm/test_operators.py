"""Every operator's samples through the x86 backend, on every instruction set, against the float64 reference.

Many samples make one graph, so that few modules are compiled. The bound per element is n * u * (sum of magnitudes)
with u = 2^-24 and n the length of the reduction plus a few operations of the epilogue; the magnitudes come from the
reference run on absolute values (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import artifact, runtime
from cnnir.artifact import Manifest, TensorSpec, host_cpu_features
from cnnir.backends import reference
from cnnir.backends.tvm import x86
from cnnir.backends.tvm.plan import check_plan, plan_memory
from cnnir.backends.tvm.x86.backend import lower
from cnnir.backends.tvm.x86.isa import ISAS, Isa
from cnnir.backends.tvm.x86.support import SUPPORT
from cnnir.errors import CnnirError
from cnnir.ir import Array, ArrayData, DType, Graph, Node, Operator, Sample, TensorType, Value
from cnnir.ir.registry import operators
from cnnir.ops.activation import NEG, RELU, NoAttrs, UnaryOperator
from cnnir.ops.conv import CONV
from cnnir.ops.conv_transpose import CONV_TRANSPOSE
from cnnir.ops.normalization import BATCH_NORM
from cnnir.ops.pool import PoolAttrs
from cnnir.ops.quantize import DEQUANTIZE_LINEAR, QUANTIZE_LINEAR
from cnnir.ops.unpool import MAX_POOL_INDICES, MAX_UNPOOL, MaxUnpoolAttrs
from cnnir.passes.manager import PassManager

U = 2.0**-24

# The kernels' own tests cover both instruction sets; whole modules for the second one take a minute to compile.
EVERY_ISA = [pytest.param(isa, id=isa.name, marks=[pytest.mark.slow] * (isa is not ISAS[0])) for isa in ISAS]

# Inputs of another element type than float32, or outputs: tested by `test_quantisation` on a whole chain.
QUANTISED = {QUANTIZE_LINEAR, DEQUANTIZE_LINEAR}

# Indices are int64 to the outside: tested by `test_unpooling` on pairs.
INDEXED = {MAX_POOL_INDICES, MAX_UNPOOL}

GROUPS: dict[str, list[Operator[Any]]] = {
    "activations": [o for o in operators() if isinstance(o, UnaryOperator)],
    "convolutions": [CONV, CONV_TRANSPOSE],
    "others": [
        o
        for o in operators()
        if not isinstance(o, UnaryOperator) and o not in {CONV, CONV_TRANSPOSE} | QUANTISED | INDEXED
    ],
}


def test_every_operator_is_supported_and_sampled() -> None:
    assert [o.name for o in operators() if o.name not in SUPPORT] == []
    assert {o for group in GROUPS.values() for o in group} | QUANTISED | INDEXED == set(operators())


def samples_of(op: Operator[Any], seed: int) -> Iterator[tuple[int, Sample[Any]]]:
    """Every sample; of an activation one shape an attribute, in turn (the formulas have tests of their own)."""
    for i, sample in enumerate(op.samples(np.random.default_rng(seed))):
        if not isinstance(op, UnaryOperator) or i % 3 == i // 3 % 3:
            yield i, sample


def add_sample(graph: Graph, name: str, op: Operator[Any], sample: Sample[Any]) -> None:
    """One node; parameters become constants, everything else inputs of the graph."""
    inputs: list[Value | None] = []
    for i, array in enumerate(sample.inputs):
        port = op.ports[min(i, len(op.ports) - 1)]
        if array is None:
            inputs.append(None)
        elif port.parameter or (op is BATCH_NORM and i > 0):
            inputs.append(Value.constant(f"{name}.{port.name}", ArrayData(array)))
        else:
            value = Value(f"{name}.in{i}", TensorType(DType.of(array.dtype), array.shape))
            graph.inputs.append(value)
            inputs.append(value)
    node = Node(op, sample.attrs, inputs, name=name)
    graph.nodes.append(node)
    for i, value in enumerate(node.outputs):
        graph.outputs[f"{name}.out{i}"] = value


def run_x86(graph: Graph, isa: Isa, feeds: dict[str, Array], folder: Path, threads: int = 2) -> dict[str, Array]:
    """Compiles a static graph and runs it through the runtime."""
    missing = set(isa.features) - (host_cpu_features() or frozenset())
    if missing:
        pytest.skip(f"this processor has no {', '.join(sorted(missing))}")
    graph = graph.clone()
    PassManager(x86.target_passes(isa)).run(graph)
    graph.verify()
    lowered = lower(graph, isa)
    check_plan(plan_memory(graph, lowered), lowered)
    product = x86.compile_graph(graph, isa)
    manifest = Manifest(
        model=graph.name,
        batch=1,
        inputs=tuple(TensorSpec(v.name, "float32", v.type.shape, batched=False) for v in graph.inputs),
        outputs=tuple(TensorSpec(n, "float32", v.type.shape, batched=False) for n, v in graph.outputs.items()),
        precision="fp32",
        target=f"x86:{isa.name}",
        cpu_features=isa.features,
        execution=product.execution,
    )
    path = folder / "graph.cnnmod"
    artifact.write(path, manifest, product.members)
    return runtime.load(path, threads=threads)(**feeds)


def check(actual: dict[str, Array], graph: Graph, feeds: dict[str, Array], length: dict[str, int]) -> None:
    """Every element within its bound."""
    expected = reference.run(graph, feeds)
    for name, value in expected.items():
        scale = np.abs(value) + np.abs(value).max(initial=0.0) + 1e-30
        bound = (length[name] + 16) * U * scale
        error = np.abs(actual[name].astype(np.float64) - value)
        assert np.isfinite(actual[name]).all(), name
        worst = np.unravel_index(int((error / bound).argmax()), error.shape) if error.size else ()
        assert (error <= bound).all(), f"{name}: error {error[worst]:.2e}, bound {bound[worst]:.2e} at {worst}"


def reduction_length(op: Operator[Any], inputs: Sequence[Array | None]) -> int:
    """Terms that one output element sums up."""
    weight = inputs[1] if len(inputs) > 1 else None
    if op.name in ("Conv", "Gemm"):
        assert weight is not None
        return int(np.prod(weight.shape[1:]))
    if op is CONV_TRANSPOSE:
        assert weight is not None
        return int(weight.size // weight.shape[1])
    assert inputs[0] is not None
    return int(inputs[0].size) if op.name.startswith(("Reduce", "Global", "Average", "Softmax", "LRN")) else 1


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("isa", EVERY_ISA)
def test_samples_agree_with_the_reference(isa: Isa, group: str, tmp_path: Path) -> None:
    graph = Graph(group)
    feeds: dict[str, Array] = {}
    length: dict[str, int] = {}
    for op in GROUPS[group]:
        for i, sample in samples_of(op, 11):
            name = f"{op.name}{i}"
            before = len(graph.inputs)
            add_sample(graph, name, op, sample)
            arrays = [a for j, a in enumerate(sample.inputs) if a is not None and _is_fed(op, j)]
            feeds |= {v.name: a for v, a in zip(graph.inputs[before:], arrays, strict=True)}
            length |= dict.fromkeys((n for n in graph.outputs if n.startswith(f"{name}.")), 0)
            for output in (n for n in graph.outputs if n.startswith(f"{name}.")):
                length[output] = reduction_length(op, sample.inputs)
    check(run_x86(graph, isa, feeds, tmp_path), graph, feeds, length)


def _is_fed(op: Operator[Any], i: int) -> bool:
    port = op.ports[min(i, len(op.ports) - 1)]
    return not (port.parameter or (op is BATCH_NORM and i > 0))


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_samples_agree_behind_a_convolution(isa: Isa, tmp_path: Path) -> None:
    """The same operators on blocked values: an identity convolution stands before each image input."""
    graph = Graph("blocked")
    feeds: dict[str, Array] = {}
    length: dict[str, int] = {}
    for op in [o for group in GROUPS.values() for o in group if o is not CONV]:
        for i, sample in samples_of(op, 13):
            images = [a for j, a in enumerate(sample.inputs) if a is not None and a.ndim == 4 and _is_fed(op, j)]
            if not images:
                continue
            name = f"{op.name}{i}"
            before = len(graph.inputs)
            add_sample(graph, name, op, sample)
            arrays = [a for j, a in enumerate(sample.inputs) if a is not None and _is_fed(op, j)]
            fed = graph.inputs[before:]
            feeds |= {v.name: a for v, a in zip(fed, arrays, strict=True)}
            node = graph.nodes[-1]
            for value in [v for v in fed if v.type.rank == 4]:
                channels = value.type.shape[1]
                eye = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
                weight = Value.constant(f"{value.name}.eye", ArrayData(eye))
                conv = Node(CONV, CONV.attrs_type((1, 1)), [value, weight, None, None], name=f"{value.name}.conv")
                value.replace_uses(conv.output)
                conv.set_input(0, value)
                graph.insert_before(node, conv)
            for output in (n for n in graph.outputs if n.startswith(f"{name}.")):
                length[output] = reduction_length(op, sample.inputs)
    graph.verify()
    check(run_x86(graph, isa, feeds, tmp_path), graph, feeds, length)


def test_quantisation(tmp_path: Path) -> None:
    """Quantised values are exact: the chain equals the reference but where rounding is a matter of the last bit."""
    x = Value("x", TensorType(DType.F32, (2, 5, 7, 3)))
    scale = Value.constant("scale", ArrayData(np.linspace(0.01, 0.05, 5, dtype=np.float32)))
    zero = Value.constant("zero", ArrayData(np.array([-3, 0, 5, 100, -128], np.int8)))
    quantised = Node(QUANTIZE_LINEAR, QUANTIZE_LINEAR.attrs_type(1), [x, scale, zero], name="q")
    back = Node(DEQUANTIZE_LINEAR, DEQUANTIZE_LINEAR.attrs_type(1), [quantised.output, scale, zero], name="dq")
    graph = Graph("qdq", [x], {"y": back.output}, [quantised, back])
    feeds = {"x": np.random.default_rng(5).normal(0, 2, x.type.shape).astype(np.float32)}
    actual = run_x86(graph, ISAS[-1], feeds, tmp_path)["y"]
    expected = reference.run(graph, feeds)["y"]
    step = np.linspace(0.01, 0.05, 5).reshape(1, 5, 1, 1)
    difference = np.abs(actual - expected) / step
    assert difference.max() < 1.001
    assert (difference > 0.001).mean() < 0.01


@pytest.mark.parametrize("isa", EVERY_ISA)
def test_unpooling(isa: Isa, tmp_path: Path) -> None:
    """Every pooling with indices, something in between, and the unpooling to the size of its input."""
    graph = Graph("unpooling")
    feeds: dict[str, Array] = {}
    for i, sample in enumerate(MAX_POOL_INDICES.samples(np.random.default_rng(17))):
        (array,) = sample.inputs
        assert array is not None
        x = Value(f"x{i}", TensorType(DType.F32, array.shape))
        pooling = Node(MAX_POOL_INDICES, sample.attrs, [x], name=f"pool{i}")
        maxima, indices = pooling.outputs
        (h, w), (oh, ow) = array.shape[2:], maxima.type.shape[2:]
        negative = Node(NEG, NoAttrs(), [maxima], name=f"neg{i}")
        whole = MaxUnpoolAttrs((h - oh + 1, w - ow + 1))
        unpooling = Node(MAX_UNPOOL, whole, [negative.output, indices], name=f"unpool{i}")
        graph.inputs.append(x)
        graph.nodes += [pooling, negative, unpooling]
        graph.outputs |= {f"maxima{i}": maxima, f"y{i}": unpooling.output}
        feeds[x.name] = array
    graph.verify()
    expected = reference.run(graph, feeds)
    for name, array in run_x86(graph, isa, feeds, tmp_path).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_unpooling_by_foreign_indices_is_refused() -> None:
    x = Value("x", TensorType(DType.F32, (1, 3, 8, 8)))
    pooling = Node(MAX_POOL_INDICES, PoolAttrs((2, 2), (2, 2)), [x], name="pool")
    larger = Node(MAX_UNPOOL, MaxUnpoolAttrs((3, 3), (2, 2)), list(pooling.outputs), name="unpool")
    graph = Graph("larger", [x], {"y": larger.output}, [pooling, larger])
    PassManager(x86.target_passes(ISAS[-1])).run(graph)
    with pytest.raises(CnnirError, match=r"'MaxUnpool' node 'unpool': the pooling of its indices saw an image of"):
        lower(graph, ISAS[-1])


def test_outputs_that_share_memory_are_copied(tmp_path: Path) -> None:
    """An output that is an input, the same value twice, and a view of another output."""
    x = Value("x", TensorType(DType.F32, (1, 6, 4, 4)))
    relu = Node(RELU, NoAttrs(), [x], name="relu")
    graph = Graph("shared", [x], {"a": relu.output, "b": relu.output, "c": x}, [relu])
    feeds = {"x": np.random.default_rng(3).standard_normal(x.type.shape).astype(np.float32)}
    out = run_x86(graph, ISAS[-1], feeds, tmp_path)
    assert np.array_equal(out["a"], np.maximum(feeds["x"], 0))
    assert np.array_equal(out["a"], out["b"])
    assert np.array_equal(out["c"], feeds["x"])
