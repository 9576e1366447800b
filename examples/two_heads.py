"""A network with two outputs, and a third that only training uses.

Teaches: a dict of tensors gives outputs their names; `training_only` marks an output that inference drops,
together with every layer that only it needs; `concat` joins branches; a plain Python function (`towers`) may name
tensors and use scopes without being a block.

    cnnir compile examples/two_heads.py:two_heads
"""

from cnnir.frontends.dsl import (
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Outputs,
    ReLU,
    Stack,
    Tensor,
    architecture,
    concat,
    scope,
    training_only,
)


def towers(x: Tensor, name: str) -> Tensor:
    """Convolutions of three sizes side by side, joined along the channels."""
    with scope(name):
        narrow = x >> Conv(16, 1, name="reduce") >> ReLU()
        return concat(
            x >> Conv(16, 1, name="1x1") >> ReLU(),
            narrow >> Conv(24, 3, padding=1, name="3x3") >> ReLU(),
            x >> MaxPool(3, stride=1, padding=1) >> Conv(8, 1, name="pool") >> ReLU(),
        )


@architecture(input=(3, 48, 48))
def two_heads(image: Tensor, classes: int = 10) -> Outputs:
    """What it is, and where: class scores and a box (left, top, width, height)."""
    x = image >> Conv(32, 3, stride=2, padding=1, name="stem") >> ReLU() >> MaxPool(2)
    x = towers(x, "towers1")
    early = x >> AvgPool(4) >> Flatten() >> Stack("early", Dropout(0.7), Dense(classes))
    features = towers(x, "towers2") >> GlobalAvgPool() >> Flatten()
    return {
        "scores": features >> Dense(classes, name="scores"),
        "box": features >> Dense(4, name="box"),
        "early_scores": training_only(early),
    }
