"""A small network as a table: every line a few layers, read from top to bottom.

Teaches: an architecture is a function from an image to scores; `>>` pipes the image through layers; a layer takes
its input's channels from what is piped into it. Look at it, then compile it:

    cnnir show examples/tinynet.py
    cnnir compile examples/tinynet.py:tinynet
"""

from cnnir.frontends.dsl import Conv, Dense, Flatten, GlobalAvgPool, MaxPool, ReLU, Tensor, architecture


@architecture(input=(3, 32, 32), labels="cifar10")
def tinynet(image: Tensor, classes: int = 10) -> Tensor:
    """Three convolutions for images of 32x32 pixels."""
    return (
        image
        >> Conv(16, 3, padding=1) >> ReLU() >> MaxPool(2)
        >> Conv(32, 3, padding=1) >> ReLU() >> MaxPool(2)
        >> Conv(64, 3, padding=1) >> ReLU() >> GlobalAvgPool()
        >> Flatten() >> Dense(classes)
    )  # fmt: skip


if __name__ == "__main__":
    graph = tinynet.build(classes=100)
    print(f"{graph.name}: {len(graph.nodes)} nodes, {sum(v.type.size for v in graph.parameters()):,} parameters")
