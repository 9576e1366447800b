"""Every mistake is reported at the user's own line, with what was expected and what to do."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from cnnir.errors import CnnirError
from cnnir.frontends.dsl import (
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    ReLU,
    Stack,
    Tensor,
    architecture,
    block,
    concat,
    repeat,
    scope,
    select,
    shorthand,
    trace,
    training_only,
)

FILE = "test_dsl_errors.py"


def mistake(function: Callable[..., object], shape: tuple[int, ...] = (64, 8, 8), **inputs: object) -> CnnirError:
    with pytest.raises(CnnirError) as caught:
        trace(function, {"input": shape, **inputs}, name=function.__name__)
    return caught.value


def at_mark(error: CnnirError, function: Callable[..., object]) -> bool:
    """Whether the error's place is the line of `function` that ends with the comment `# here`."""
    lines, first = inspect.getsourcelines(function)
    (mark,) = [first + i for i, line in enumerate(lines) if line.rstrip().endswith("# here")]
    return error.at is not None and error.at.endswith(f"{FILE}:{mark}") and not error.at.startswith("/")


def test_a_kernel_that_does_not_fit() -> None:
    def net(x: Tensor) -> Tensor:
        return (
            x
            >> Conv(8, 3)
            >> Conv(8, 7)  # here
            >> ReLU()
        )

    error = mistake(net)
    assert at_mark(error, net)
    assert "input 6 with padding 0+0 is smaller than kernel 7" in error.message
    assert error.notes == ("'conv2' reads 'conv1' f32[N,8,6,6].",)
    assert error.hints == ("Use a smaller kernel, more padding, or a larger input image.",)


@pytest.mark.parametrize("pool", [MaxPool, AvgPool])
def test_a_pool_that_does_not_fit(pool: type[MaxPool]) -> None:
    def net(x: Tensor) -> Tensor:
        return x >> pool(9)  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert "smaller than kernel 9" in error.message


def test_a_pool_whose_window_lies_in_the_padding_is_reported_at_its_line() -> None:
    def net(x: Tensor) -> Tensor:
        return x >> MaxPool(1, 1, padding=1)  # here

    assert at_mark(mistake(net), net)


def test_channels_not_divisible_by_groups() -> None:
    def net(x: Tensor) -> Tensor:
        return x >> Conv(48, 3, groups=6)  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message == "64 input channels do not divide into 6 groups."
    assert error.hints == ("Numbers of groups that fit: 1, 2, 4, 8, 16.",)


def test_filters_not_divisible_by_groups() -> None:
    error = mistake(lambda x: x >> Conv(42, 3, groups=4))
    assert error.message == "42 filters do not divide into 4 groups."


@pytest.mark.parametrize(
    ("layer", "hint"),
    [
        (Conv(32, 1), "Bring one to the other's channels with a 1x1 convolution."),
        (Conv(64, 3), "Bring one to the other's height and width: look at strides and paddings."),
        (Conv(32, 3), "Bring one to the other's channels and size with a strided 1x1 convolution."),
        (Flatten(), "Look at the layers that lead to each."),
    ],
)
def test_adding_different_shapes(layer: Conv, hint: str) -> None:
    def net(x: Tensor) -> Tensor:
        y = x >> layer
        return (x + y) >> ReLU()  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message.startswith(
        "Expected two tensors of the same shape for 'add', got f32[N,64,8,8] and f32[N,"
    )
    assert error.hints == (hint,)


def test_an_error_in_a_block_tells_which_block_and_where_that_was_written() -> None:
    @block
    def residual(x: Tensor) -> Tensor:
        return x + (x >> Conv(32, 3, padding=1))  # here

    def net(x: Tensor) -> Tensor:
        return x >> Stack("layer1", ReLU(), residual())

    error = mistake(net)
    assert at_mark(error, residual.__wrapped__)
    assert any(note.startswith("In 'layer1.1' at") and f"{FILE}:" in note for note in error.notes)


def test_joining_different_sizes() -> None:
    def net(x: Tensor) -> Tensor:
        return concat(x, x >> MaxPool(2))  # here

    assert at_mark(mistake(net), net)


def test_duplicate_names() -> None:
    def net(x: Tensor) -> Tensor:
        x >>= Conv(64, 1, name="conv1")
        return x >> Conv(64, 1, name="conv1")  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message == "Two layers are called 'conv1'."
    assert f"{FILE}:{net.__code__.co_firstlineno + 1}" in error.notes[0]
    assert error.hints == ("Name one of them otherwise, or use one layer object twice to share its weights.",)


def test_duplicate_names_through_scopes() -> None:
    def net(x: Tensor) -> Tensor:
        x >>= Stack("layer", Conv(64, 1))
        with scope("layer"):
            return x >> BatchNorm(name="0")  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message == "Two layers are called 'layer.0'."


def test_sharing_with_another_number_of_channels() -> None:
    def net(x: Tensor) -> Tensor:
        conv = Conv(32, 3, padding=1)
        y = x >> conv
        return y >> conv  # here

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message == "'conv1.weight' is shared: expected shape [32, 64, 3, 3], got [32, 32, 3, 3]."


def test_forgetting_to_return() -> None:
    def net(x: Tensor) -> None:
        x >> ReLU()

    error = mistake(net)
    assert error.message == "'net' returned nothing, expected a tensor."
    assert error.hints == ("Add 'return' before the last expression.",)
    assert error.at is not None and error.at.endswith(f"{FILE}:{net.__code__.co_firstlineno}")


def test_forgetting_to_return_from_a_block() -> None:
    @block
    def body(x: Tensor) -> Tensor:  # here
        x >> ReLU()

    error = mistake(lambda x: x >> body())
    assert error.message == "Block 'body' returned nothing, expected a tensor."
    assert error.hints == ("Add 'return x'.",)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (5, "'net' returned 5, expected a tensor."),
        (Conv(3, 3) >> ReLU(), "'net' returned a layer, expected a tensor."),
        ("logits", "'net' returned 'logits', expected a tensor."),
        ({"a": 1}, "'net' returned 1 as output 'a', expected a tensor."),
        ((), "'net' returned no outputs, expected at least one tensor."),
    ],
)
def test_returning_something_else(returned: object, message: str) -> None:
    def net(x: Tensor) -> object:
        return returned

    assert mistake(net).message == message


def test_returning_the_input() -> None:
    assert "is its input unchanged" in mistake(lambda x: x).message


def test_only_training_outputs() -> None:
    assert "no output but training-only ones" in mistake(lambda x: training_only(x >> ReLU())).message


def test_training_only_of_a_layer() -> None:
    assert "Expected a tensor in 'training_only'" in mistake(lambda x: (x >> ReLU(), training_only(ReLU()))).message


def test_an_unused_result() -> None:
    def net(x: Tensor) -> Tensor:
        x >> Conv(3, 3)  # here
        return x >> ReLU()

    error = mistake(net)
    assert at_mark(error, net)
    assert error.message == "Nothing uses the result of 'conv1'."


def test_an_unused_input() -> None:
    error = mistake(lambda x, y: x >> ReLU(), other=(3, 8, 8))
    assert error.message.endswith("does not use its input 'other'.")


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Conv("64", 3), "Expected 'filters' to be a positive integer, got '64'."),
    (lambda: Conv(0, 3), "Expected 'filters' to be a positive integer, got 0."),
    (lambda: Conv(True, 3), "Expected 'filters' to be a positive integer, got True."),
    (lambda: Conv(8, 2.5), "Expected 'kernel_size' to be one positive integer or two (height, width), got 2.5."),
    (lambda: Conv(8, (3, 3, 3)), "Expected 'kernel_size' to be one positive integer or two (height, width), got ("),
    (lambda: Conv(8, 3, stride=0), "Expected 'stride' to be one positive integer or two (height, width), got 0."),
    (lambda: Conv(8, 3, padding=-1), "Expected 'padding' to be an integer of at least 0, (height, width)"),
    (lambda: Conv(8, 3, padding="full"), "left, bottom, right), 'same' or 'valid', got 'full'."),
    (lambda: Conv(8, 3, padding=(1, 1, 1)), "got (1, 1, 1)."),
    (lambda: Conv(8, 3, bias=1), "Expected 'bias' to be True or False, got 1."),
    (lambda: Conv(8, 3, groups=None), "Expected 'groups' to be a positive integer, got None."),
    (lambda: Conv(8, 3, name=""), "letters, digits, '_' and '-' in parts joined by '.', got ''."),
    (lambda: Conv(8, 3, name="a..b"), "got 'a..b'."),
    (lambda: Dense(3.0), "Expected 'units' to be a positive integer, got 3.0."),
    (lambda: MaxPool(2, ceil_mode="yes"), "Expected 'ceil_mode' to be True or False, got 'yes'."),
    (lambda: AdaptiveAvgPool(0), "Expected 'size' to be one positive integer"),
    (lambda: Stack("a", ReLU), "Expected a layer in a stack, got 'ReLU'. Write 'ReLU(...)': a layer with its"),
    (lambda: Stack("a", "b"), "Expected a layer in a stack, got 'b'."),
    (lambda: ReLU() >> 3, "Expected a layer in a chain, got 3."),
    (lambda: repeat(-1, ReLU), "Expected 'times' to be an integer of at least 0, got -1."),
    (lambda: repeat(2, ReLU()), "Expected a layer's class or a block's function to repeat, got a layer."),
    (lambda: Conv(8, 3)(5), "Expected a tensor as the input of 'Conv', got 5."),
    (lambda: architecture(input=224), "Expected an input shape such as (3, 224, 224), without the batch, got 224."),
    (lambda: scope("a").__enter__(), "This works only while an architecture is being built."),
]  # fmt: skip


@pytest.mark.parametrize(("write", "text"), WRONG, ids=[text for _, text in WRONG])
def test_wrong_arguments(write: Callable[[], object], text: str) -> None:
    with pytest.raises(CnnirError) as caught:
        write()
    assert text in str(caught.value)
    assert caught.value.at is not None
    if not text.startswith("This works"):
        assert caught.value.at.endswith(f"{FILE}:{write.__code__.co_firstlineno}")


INSIDE: list[tuple[Callable[[Tensor], object], str]] = [
    (lambda x: x >> ReLU, "Expected a layer on the right of '>>', got 'ReLU'. Write 'ReLU(...)': a layer"),
    (lambda x: x >> 3, "Expected a layer on the right of '>>', got 3."),
    (lambda x: x + "a", "Expected a tensor or a number as the second operand of 'add', got 'a'."),
    (lambda x: x + ReLU(), "Pipe a tensor through it first: 'x >> layer'."),
    (lambda x: x * float("nan"), "Expected 'operand' to be a number, got nan."),
    (lambda x: concat([x, x]), "Expected a tensor as an input of 'concat', got ["),
    (lambda x: concat(), "'concat' needs at least one tensor."),
    (lambda x: x[0:1] >> ReLU(), "The batch axis cannot be sliced."),
    (lambda x: x[:, 3] >> ReLU(), "Expected at most 4 slices for f32[N,64,8,8]"),
    (lambda x: x[:, 9:3] >> ReLU(), "The slice of axis 1 takes nothing from f32[N,64,8,8]."),
    (lambda x: select(x, [64]), "Expected channels from 0 to 63, got 64."),
    (lambda x: x >> Dense(3), "Expected rows (N, K) as the input of 'Dense', got f32[N,64,8,8]. Put 'Flatten()'"),
    (lambda x: x >> Flatten() >> Conv(3, 3), "Expected an image (N, C, H, W) as the input of 'Conv', got "),
    (lambda x: x >> Flatten() >> MaxPool(3), "Expected an image (N, C, H, W) as the input of 'MaxPool'"),
    (lambda x: x >> Flatten() >> AdaptiveAvgPool(3), "Expected an image (N, C, H, W), got f32[N,4096]."),
    (lambda x: not x, "A tensor has no elements while the network is being described"),
    (lambda x: list(x), "A tensor cannot be iterated over. Slice it: 'x[:, 0:3]'."),
    (lambda x: 1 / 0, "ZeroDivisionError: division by zero."),
    (lambda x: Conv(3, 3, kernal=1), "TypeError: Conv.__init__() got an unexpected keyword argument 'kernal'."),
]  # fmt: skip


@pytest.mark.parametrize(("net", "text"), INSIDE, ids=[text for _, text in INSIDE])
def test_mistakes_inside_an_architecture(net: Callable[[Tensor], object], text: str) -> None:
    error = mistake(net)
    assert text in str(error)
    assert error.at is not None and error.at.endswith(f"{FILE}:{net.__code__.co_firstlineno}")


def test_block_arguments() -> None:
    @block
    def body(x: Tensor, width: int) -> Tensor:
        return x >> Conv(width, 1)

    with pytest.raises(CnnirError, match="Block 'body' does not fit its arguments: missing a required argument"):
        body()
    with pytest.raises(CnnirError, match="got an unexpected keyword argument 'depth'"):
        body(3, depth=3)
    assert "Block 'body' is applied with '>>'. Write 'x >> body(...)'." in str(mistake(lambda x: body(x)))
    assert "Expected a layer on the right of '>>', got 'body'." in str(mistake(lambda x: x >> body))


def test_a_tensor_of_another_network() -> None:
    kept: list[Tensor] = []

    def first(x: Tensor) -> Tensor:
        kept.append(x)
        return x >> ReLU()

    trace(first, {"input": (64, 8, 8)}, name="first")
    assert mistake(lambda x: x + kept[0]).message == "This tensor belongs to another network."


def test_a_shorthand_is_blamed_where_it_is_used() -> None:
    @shorthand
    def wide(filters: int) -> Conv:
        return Conv(filters, 99)

    def net(x: Tensor) -> Tensor:
        return x >> wide(3)  # here

    assert at_mark(mistake(net), net)


def test_architecture_takes_as_many_tensors_as_inputs() -> None:
    with pytest.raises(CnnirError, match="'net' takes 1 tensors, but 'input' gives 2"):

        @architecture(input={"a": (3, 8, 8), "b": (3, 8, 8)})
        def net(a: Tensor) -> Tensor:
            return a


def test_a_bug_of_this_project_is_no_mistake_of_the_user() -> None:
    exec_globals = {"__name__": "cnnir.broken", "ReLU": ReLU}
    exec("class Broken(ReLU):\n    def apply(self, call, x):\n        return {}['missing']\n", exec_globals)
    broken = exec_globals["Broken"]
    with pytest.raises(KeyError):
        trace(lambda x: x >> broken(), {"input": (3, 8, 8)}, name="net")
