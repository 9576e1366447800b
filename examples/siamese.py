"""A Siamese network: two images, one set of weights, and one number that says how alike they are.

Teaches: an architecture may have several inputs, which `input` names; a layer (here a whole stack) that is applied
twice shares its weights, as it is one object; `scope` puts layers under a name; the output's name is one's own
choice.

    cnnir compile examples/siamese.py:siamese
"""

from cnnir.frontends.dsl import (
    Conv,
    Dense,
    Flatten,
    Layer,
    MaxPool,
    ReLU,
    Sigmoid,
    Stack,
    Tensor,
    architecture,
    scope,
)


def encoder(features: int) -> Layer:
    """From an image to `features` numbers."""
    return Stack(
        "encoder",
        Conv(16, 5), ReLU(), MaxPool(2),
        Conv(32, 5), ReLU(), MaxPool(2),
        Flatten(), Dense(features),
    )  # fmt: skip


@architecture(input={"left": (1, 28, 28), "right": (1, 28, 28)}, output="alike")
def siamese(left: Tensor, right: Tensor, features: int = 64) -> Tensor:
    """Whether two digits are the same: a weighted squared distance of their features."""
    encode = encoder(features)
    distance = (left >> encode) - (right >> encode)
    with scope("head"):
        return distance * distance >> Dense(1, name="weigh") >> Sigmoid()


if __name__ == "__main__":
    graph = siamese.build()
    convolutions = [node.name for node in graph.nodes if node.op.name == "Conv"]
    print(f"{len(convolutions)} convolutions: {', '.join(convolutions)}")
    print("weights:", ", ".join(v.name for v in graph.parameters() if v.name.endswith("weight")))
