"""ENet against the paper's table, and against the same network written for PyTorch."""

from __future__ import annotations

from typing import Any

import pytest

from cnnir.analysis.receptive_field import receptive_fields
from cnnir.frontends import zoo


def paper(height: int, width: int, classes: int) -> tuple[int, int]:
    """Parameters, and products of the convolutions, from table 1: a bottleneck of c channels works on c/4 of them,
    between two 1x1 convolutions; a slope, scale and shift a feature map."""
    parameters = products = 0

    def weights(count: int, shrunk: int) -> None:
        nonlocal parameters, products
        parameters += count
        products += count * (height // shrunk) * (width // shrunk)

    def bottleneck(inputs: int, c: int, shrunk: int, taps: int = 9, kind: str = "") -> None:
        nonlocal parameters
        n = c // 4
        # Pixels of the smaller image where the size changes, for all but the expansion after unpooling.
        small = 2 * shrunk if kind == "up" else shrunk
        weights(inputs * n * (4 if kind == "down" else 1), small)
        weights(n * n * taps, small)
        weights(n * c, shrunk)
        parameters += 3 * n + 3 * n + 3 * c
        if kind == "up":
            weights(inputs * c, small)
            parameters += 2 * c

    weights(3 * 13 * 9, 2)
    parameters += 3 * 16
    bottleneck(16, 64, 4, kind="down")
    for _ in range(4):
        bottleneck(64, 64, 4)
    bottleneck(64, 128, 8, kind="down")
    for _ in range(2):
        for taps in (9, 9, 10, 9, 9, 9, 10, 9):
            bottleneck(128, 128, 8, taps)
    bottleneck(128, 64, 4, kind="up")
    bottleneck(64, 64, 4)
    bottleneck(64, 64, 4)
    bottleneck(64, 16, 2, kind="up")
    bottleneck(16, 16, 2)
    weights(16 * classes * 4, 2)
    return parameters + classes, products


def test_parameters_and_products(learnable: Any, products: Any) -> None:
    graph = zoo.build("enet", input_shape=(3, 360, 640))
    assert (learnable(graph), products(graph)) == paper(360, 640, 19)
    # The paper's table 3 has 0.37 million; the usual tables of later papers 0.36.
    assert 0.36e6 < learnable(graph) < 0.37e6


def test_sizes_are_those_of_the_paper() -> None:
    graph = zoo.build("enet")
    assert graph.outputs["logits"].type.shape[1:] == (19, 512, 512)
    sizes = {n.name: n.outputs[0].type.shape[1:] for n in graph.nodes}
    for i, size in ((1, (64, 128, 128)), (2, (128, 64, 64)), (4, (64, 128, 128)), (5, (16, 256, 256))):
        assert sizes[f"bottleneck{i}_1.add1"] == size
    assert [n.op.name for n in graph.nodes].count("MaxPoolIndices") == 2
    assert [n.op.name for n in graph.nodes].count("MaxUnpool") == 2
    fields = receptive_fields(graph)
    assert fields[graph.outputs["logits"].name].stride == (1, 1)


def module(classes: int) -> Any:
    nn = pytest.importorskip("torch").nn
    import torch

    class PReLU(nn.Module):  # type: ignore[misc, name-defined]
        """PyTorch's, with a weight of the shape that ONNX broadcasts, and slopes that differ."""

        def __init__(self, c: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(c, 1, 1))

        def forward(self, x: Any) -> Any:
            return nn.functional.prelu(x, self.weight.reshape(-1))

    def act(c: int) -> list[Any]:
        return [nn.BatchNorm2d(c, 1e-3), PReLU(c)]

    def branch(inputs: int, c: int, main: list[Any], stride: int = 1) -> Any:
        first = nn.Conv2d(inputs, c // 4, stride, stride, bias=False)
        last = nn.Conv2d(c // 4, c, 1, bias=False)
        return nn.Sequential(first, *act(c // 4), *main, *act(c // 4), last, nn.BatchNorm2d(c, 1e-3), nn.Dropout())

    class Bottleneck(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, c: int, kind: str = "regular", dilation: int = 1) -> None:
            super().__init__()
            n = c // 4
            main = {
                "regular": [nn.Conv2d(n, n, 3, padding=dilation, dilation=dilation, bias=False)],
                "asymmetric": [
                    nn.Conv2d(n, n, (5, 1), padding=(2, 0), bias=False),
                    nn.Conv2d(n, n, (1, 5), padding=(0, 2), bias=False),
                ],
                "up": [nn.ConvTranspose2d(n, n, 3, 2, 1, 1, bias=False)],
            }
            self.kind, self.more = kind, c - inputs
            self.branch = branch(inputs, c, main["regular" if kind == "down" else kind], 2 if kind == "down" else 1)
            if kind == "up":
                self.skip = nn.Sequential(nn.Conv2d(inputs, c, 1, bias=False), nn.BatchNorm2d(c, 1e-3))
            self.prelu = PReLU(c)

        def forward(self, x: Any, places: Any = None) -> Any:
            y = self.branch(x)
            if self.kind == "down":
                pooled, places = nn.functional.max_pool2d(x, 2, return_indices=True)
                return self.prelu(y + nn.functional.pad(pooled, (0, 0, 0, 0, 0, self.more))), places
            if self.kind == "up":
                x = nn.functional.max_unpool2d(self.skip(x), places, 2)
            return self.prelu(x + y)

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.initial = nn.Module()
            self.initial.conv = nn.Conv2d(3, 13, 3, 2, 1, bias=False)
            self.initial.act = nn.Sequential(*act(16))
            self.names: list[str] = []

            def more(name: str, *args: Any) -> None:
                setattr(self, f"bottleneck{name}", Bottleneck(*args))
                self.names.append(f"bottleneck{name}")

            more("1_0", 16, 64, "down")
            for i in range(1, 5):
                more(f"1_{i}", 64, 64)
            more("2_0", 64, 128, "down")
            for section, first in ((2, 1), (3, 0)):
                for i, dilation in enumerate((1, 2, 0, 4, 1, 8, 0, 16), first):
                    kind = "regular" if dilation else "asymmetric"
                    more(f"{section}_{i}", 128, 128, kind, dilation or 1)
            more("4_0", 128, 64, "up")
            more("4_1", 64, 64)
            more("4_2", 64, 64)
            more("5_0", 64, 16, "up")
            more("5_1", 16, 16)
            self.fullconv = nn.ConvTranspose2d(16, classes, 2, 2)

        def forward(self, x: Any) -> Any:
            x = self.initial.act(torch.cat([self.initial.conv(x), nn.functional.max_pool2d(x, 2)], 1))
            places = []
            for name in self.names:
                part = getattr(self, name)
                if part.kind == "down":
                    x, where = part(x)
                    places.append(where)
                elif part.kind == "up":
                    x = part(x, places.pop())
                else:
                    x = part(x)
            return self.fullconv(x)

    torch.manual_seed(0)
    return Net()


def test_outputs_are_those_of_pytorch(same_outputs: Any) -> None:
    graph = zoo.build("enet", input_shape=(3, 64, 96), classes=5)
    same_outputs(graph, module(5))


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("enet", 64, classes=5)
