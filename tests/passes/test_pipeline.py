"""Pipelines as text, typed options, the registry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnir.errors import CnnirError
from cnnir.ir import Graph
from cnnir.passes import pipeline, registry
from cnnir.passes.base import EXACT, RETRAIN, Contract, Pass, Repeat, Report, approximate
from cnnir.passes.constant_folding import ConstantFolding
from cnnir.passes.cse import Cse
from cnnir.passes.dce import Dce
from cnnir.passes.pipeline import PIPELINES, format_pipeline, options_of, parse_pipeline
from cnnir.passes.registry import find_pass, passes, register


class Rounding(StrEnum):
    NEAREST = "nearest"
    DOWN = "down"


@dataclass(frozen=True)
class Everything(Pass):
    """Has an option of every type."""

    count: int = 3
    share: float = 0.5
    fast: bool = False
    word: str = "plain"
    rounding: Rounding = Rounding.NEAREST
    limit: int | None = None
    layers: tuple[str, ...] = ()
    size: tuple[int, int] = (3, 3)

    name: ClassVar[str] = "everything"
    contract: ClassVar[Contract] = RETRAIN

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"expected a count of at least 0, got {self.count}")

    def run(self, graph: Graph, report: Report) -> None:
        pass


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PASSES", {**registry._PASSES, "everything": Everything})


def test_names_options_and_repetition() -> None:
    assert parse_pipeline("") == ()
    assert parse_pipeline(" dce , cse ") == (Dce(), Cse())
    assert parse_pipeline("constant-folding{max_elements=7 dequantize=true}") == (ConstantFolding(7, True),)
    assert parse_pipeline("constant-folding{max_elements=7, dequantize=true},dce") == (
        ConstantFolding(7, True),
        Dce(),
    )
    assert parse_pipeline("dce{}") == (Dce(),)
    assert parse_pipeline("repeat(dce,cse),dce") == (Repeat((Dce(), Cse())), Dce())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count=12", Everything(count=12)),
        ("share=1e-3", Everything(share=1e-3)),
        ("share=2", Everything(share=2.0)),
        ("fast=true", Everything(fast=True)),
        ("word=a-b.c/d", Everything(word="a-b.c/d")),
        ('word="two words, {braces}"', Everything(word="two words, {braces}")),
        ("rounding=down", Everything(rounding=Rounding.DOWN)),
        ("limit=4", Everything(limit=4)),
        ("limit=none", Everything()),
        ("layers=[conv1,conv2]", Everything(layers=("conv1", "conv2"))),
        ("layers=conv1", Everything(layers=("conv1",))),
        ("size=[5,7]", Everything(size=(5, 7))),
    ],
)
def test_values_are_typed_by_the_field(text: str, expected: Everything) -> None:
    assert parse_pipeline(f"everything{{{text}}}") == (expected,)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.builds(
            Everything,
            count=st.integers(0, 10**6),
            share=st.floats(allow_nan=False),
            fast=st.booleans(),
            word=st.text(st.characters(codec="ascii", exclude_characters='"\n\r', categories=["L", "N", "P", "Z"])),
            rounding=st.sampled_from(Rounding),
            limit=st.none() | st.integers(),
            layers=st.lists(st.sampled_from(["a", "layer1.0.conv", "x y", "none"])).map(tuple),
            size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        ).flatmap(lambda p: st.sampled_from([p, Dce(), Repeat((Dce(), ConstantFolding(5)))])),
        max_size=4,
    ).map(tuple)
)
def test_format_is_the_inverse_of_parse(chosen: tuple[Pass, ...]) -> None:
    assert parse_pipeline(format_pipeline(chosen)) == chosen


def test_defaults_are_not_written() -> None:
    assert (
        format_pipeline((Everything(), ConstantFolding(9), Dce()))
        == "everything,constant-folding{max_elements=9},dce"
    )


@pytest.mark.parametrize("name", PIPELINES)
def test_named_pipelines_parse_and_print(name: str) -> None:
    assert format_pipeline(parse_pipeline(name)) == PIPELINES[name]
    assert parse_pipeline(f"dce,{name},dce") == (Dce(), *parse_pipeline(name), Dce())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fold-batchnorm",
            "Unknown pass 'fold-batchnorm'. Did you mean 'fold-batch-norm'? See 'cnnir passes' for the list.",
        ),
        ("inferense", "Unknown pass 'inferense'. Did you mean 'inference'? See 'cnnir passes' for the list."),
        (
            "constant-folding{max_element=3}",
            "pass 'constant-folding': Unknown option 'max_element'. Did you mean 'max_elements'?",
        ),
        ("dce{x=1}", "pass 'dce': Unknown option 'x': the pass has none."),
        ("everything{count=five}", "pass 'everything': Option 'count': expected an integer, got 'five'."),
        ("everything{count=1.5}", "pass 'everything': Option 'count': expected an integer, got '1.5'."),
        ("everything{share=[1,2]}", "pass 'everything': Option 'share': expected a number, got '[1,2]'."),
        ("everything{fast=yes}", "pass 'everything': Option 'fast': expected true or false, got 'yes'."),
        (
            "everything{rounding=up}",
            "pass 'everything': Option 'rounding': expected one of nearest, down, got 'up'.",
        ),
        ("everything{limit=x}", "pass 'everything': Option 'limit': expected an integer or 'none', got 'x'."),
        ("everything{size=3}", "pass 'everything': Option 'size': expected [an integer, an integer], got '3'."),
        ("everything{count=-1}", "pass 'everything': Expected a count of at least 0, got -1."),
        ("everything{count=1 count=2}", "Pipeline 'everything{count=1 count=2}' gives option 'count' twice."),
        ("dce,", "Pipeline 'dce,': expected the name of a pass, got the end."),
        ("dce cse", "Pipeline 'dce cse': expected a comma or the end, got 'cse'."),
        ("everything{count}", "Pipeline 'everything{count}': expected '=', got '}'."),
        ("everything{count=", "Pipeline 'everything{count=': expected a value, got the end."),
        ("everything{layers=[a", "Pipeline 'everything{layers=[a': expected a value, got the end."),
        ("repeat(dce", "Pipeline 'repeat(dce': expected ')', got the end."),
        ("repeat()", "Cannot repeat '': only exact passes can be repeated, and at least one is needed."),
        (
            "repeat(everything)",
            "Cannot repeat 'everything': only exact passes can be repeated, and at least one is needed.",
        ),
        ('everything{word="x}', "Pipeline 'everything{word=\"x}' has an unclosed quote at character 17."),
    ],
)
def test_mistakes_are_one_sentence(text: str, message: str) -> None:
    with pytest.raises(CnnirError) as caught:
        parse_pipeline(text)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_options_are_described() -> None:
    described = [(o.name, o.type, o.default) for o in options_of(ConstantFolding)]
    assert described == [("max_elements", "an integer", 1 << 22), ("dequantize", "true or false", False)]


def test_every_pass_states_given_and_result() -> None:
    for cls in passes():
        if cls is not Everything:
            assert cls.__doc__ and "Given:" in cls.__doc__ and "Result:" in cls.__doc__, cls.name
            assert find_pass(cls.name) is cls
            assert registry.summary(cls).endswith(".")


def test_the_registry_refuses_what_breaks_its_rules() -> None:
    @dataclass(frozen=True)
    class Shouting(Everything):
        name: ClassVar[str] = "SHOUT"

    @dataclass(frozen=True)
    class Again(Everything):
        name: ClassVar[str] = "dce"

    class Plain(Everything):
        name: ClassVar[str] = "plain"

    @dataclass(frozen=True)
    class Demanding(Pass):
        needed: int
        name: ClassVar[str] = "demanding"
        contract: ClassVar[Contract] = EXACT

        def run(self, graph: Graph, report: Report) -> None:
            pass

    for cls, words in (
        (Shouting, "is not kebab-case"),
        (Again, "is registered twice"),
        (Plain, "is not a dataclass"),
        (Demanding, "option 'needed' of pass 'demanding' has no default"),
    ):
        with pytest.raises(ValueError, match=words):
            register(cls)


def test_contracts_print_their_bound() -> None:
    assert [str(c) for c in (EXACT, RETRAIN, approximate("relative_max", 0.01))] == [
        "exact",
        "retrain",
        "approximate(relative_max <= 0.01)",
    ]
    with pytest.raises(ValueError, match="positive bound"):
        approximate("relative_max", 0.0)


def test_an_option_type_that_has_no_text_is_a_bug() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        pipeline._convert("x", bytes)
