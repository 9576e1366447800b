"""U-Net against the paper's figure, and against the same network written for PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.frontends import zoo


def paper(width: int, depth: int, classes: int) -> tuple[int, int]:
    """Parameters and products, layer by layer from figure 1 for an image of 572x572."""
    parameters = products = 0

    def layer(inputs: int, outputs: int, kernel: int, pixels: int) -> None:
        nonlocal parameters, products
        parameters += inputs * outputs * kernel**2 + outputs
        products += inputs * outputs * kernel**2 * pixels**2

    size, channels = 572, 1
    for i in range(depth + 1):
        for _ in range(2):
            size -= 2
            layer(channels, width << i, 3, size)
            channels = width << i
        size //= 2 if i < depth else 1
    for _ in range(depth):
        layer(channels, channels // 2, 2, size)  # each pixel of the smaller image makes four
        size *= 2
        for inputs in (channels, channels // 2):
            size -= 2
            layer(inputs, channels // 2, 3, size)
        channels //= 2
    layer(channels, classes, 1, size)
    assert size == 388
    return parameters, products


def test_parameters_products_and_sizes_are_those_of_the_figure(learnable: Any, products: Any) -> None:
    graph = zoo.build("unet")
    assert graph.outputs["logits"].type.shape[1:] == (2, 388, 388)
    # 31.0 million; 31,030,593 is widely quoted for one class instead of two, which take 65 parameters more.
    assert learnable(graph) == 31_030_593 + 65
    assert (learnable(graph), products(graph)) == paper(64, 4, 2)
    crops = [n.output.type.shape[2:] for n in graph.nodes if n.op.name == "Slice"]
    assert crops == [(56, 56), (104, 104), (200, 200), (392, 392)]


def module(width: int, depth: int, classes: int) -> Any:
    nn = pytest.importorskip("torch").nn
    import torch

    def double(inputs: int, outputs: int) -> Any:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.ReLU(), nn.Conv2d(outputs, outputs, 3), nn.ReLU())

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            channels = 1
            for i in range(1, depth + 1):
                setattr(self, f"down{i}", double(channels, width << i - 1))
                channels = width << i - 1
            self.bottom = double(channels, width << depth)
            for i in range(depth, 0, -1):
                setattr(self, f"up{i}", nn.ConvTranspose2d(width << i, width << i - 1, 2, 2))
                setattr(self, f"decode{i}", double(width << i, width << i - 1))
            self.scores = nn.Conv2d(width, classes, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for i in range(1, depth + 1):
                x = getattr(self, f"down{i}")(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.bottom(x)
            for i in range(depth, 0, -1):
                x, skip = getattr(self, f"up{i}")(x), skips[i - 1]
                cut = (skip.shape[2] - x.shape[2]) // 2
                x = torch.cat([skip[:, :, cut : cut + x.shape[2], cut : cut + x.shape[3]], x], 1)
                x = getattr(self, f"decode{i}")(x)
            return self.scores(x)

    torch.manual_seed(0)
    return Net()


def test_outputs_are_those_of_pytorch(same_outputs: Any) -> None:
    graph = zoo.build("unet", input_shape=(1, 188, 188), width=4)
    assert graph.outputs["logits"].type.shape[2:] == (4, 4)
    same_outputs(graph, module(4, 4, 2))


def test_deploys(deploys: Any) -> None:
    deploys("unet", 92, channels=1, width=16, depth=3)
