"""FCN-8s against the sum over its layers, and against the same network written for PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.frontends.dsl import Bilinear, ConvTranspose, Fan, architecture

# VGG-16 without its last layer (torchvision documents 138,357,544, of which that one has 4,097,000), 1x1 scores of
# 4096, 512 and 256 channels with biases, and three kernels of 21x21 channels of 4x4, 4x4 and 16x16.
PARAMETERS = (138_357_544 - 4_097_000) + 21 * (4096 + 512 + 256 + 3) + 21 * 21 * (4 * 4 + 4 * 4 + 16 * 16)


def test_parameters(learnable: Any) -> None:
    assert learnable(zoo.build("fcn8s")) == PARAMETERS
    # 134.5 million: table 1 of the paper says 134 M for FCN-VGG16 before its skips.
    assert round(PARAMETERS / 1e6, 1) == 134.5


@pytest.mark.parametrize("size", [(500, 500), (375, 500), (33, 47)])
def test_any_size_comes_back(size: tuple[int, int]) -> None:
    assert zoo.build("fcn8s", input_shape=(3, *size)).outputs["logits"].type.shape[1:] == (21, *size)


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_upsampling_begins_as_bilinear_interpolation(factor: int) -> None:
    """Inside, where no border reaches, a plane stays a plane: each output pixel lies on it at its centre."""

    @architecture(input=(2, 6, 7))
    def net(x: Any) -> Any:
        return x >> ConvTranspose(2, 2 * factor - factor % 2, factor, factor // 2, bias=False, init=Bilinear())

    rows, columns = np.mgrid[0:6, 0:7].astype(np.float64)
    image = np.stack([3 * rows - 2 * columns, rows + columns])[None]
    y = reference.run(net.build(), {"input": image})["logits"][0]
    i, j = ((np.arange(n) + 0.5) / factor - 0.5 for n in y.shape[1:])
    expected = np.stack([3 * i[:, None] - 2 * j, i[:, None] + j])
    inner = (slice(None), slice(factor, -2 * factor), slice(factor, -2 * factor))
    np.testing.assert_allclose(y[inner], expected[inner], rtol=1e-6, atol=1e-6)
    kernel = Bilinear()(np.random.default_rng(0), (2, 2, 4, 4), Fan(1, 1))
    assert not kernel[0, 1].any()


def module(classes: int, hidden: int) -> Any:
    nn = pytest.importorskip("torch").nn
    import torch

    chains = ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            for i, chain in enumerate(chains, 1):
                for j, (a, b) in enumerate(itertools.pairwise(chain), 1):
                    setattr(self, f"conv{i}_{j}", nn.Conv2d(a, b, 3, padding=100 if i == j == 1 else 1))
            self.fc6, self.fc7 = nn.Conv2d(512, hidden, 7), nn.Conv2d(hidden, hidden, 1)
            for name, channels in (("fr", hidden), ("pool4", 512), ("pool3", 256)):
                setattr(self, f"score_{name}", nn.Conv2d(channels, classes, 1))
            for name, factor in (("upscore2", 2), ("upscore_pool4", 2), ("upscore8", 8)):
                setattr(self, name, nn.ConvTranspose2d(classes, classes, 2 * factor, factor, bias=False))

        def forward(self, image: Any) -> Any:
            x, pools = image, []
            for i, chain in enumerate(chains, 1):
                for j in range(1, len(chain)):
                    x = getattr(self, f"conv{i}_{j}")(x).relu()
                x = nn.functional.max_pool2d(x, 2, ceil_mode=True)
                pools.append(x)
            x = self.upscore2(self.score_fr(self.fc7(self.fc6(x).relu()).relu()))
            for pool, offset, name in ((3, 5, "pool4"), (2, 9, "pool3")):
                fine = getattr(self, f"score_{name}")(pools[pool])
                x = x + fine[:, :, offset : offset + x.shape[2], offset : offset + x.shape[3]]
                x = self.upscore_pool4(x) if name == "pool4" else self.upscore8(x)
            return x[:, :, 31 : 31 + image.shape[2], 31 : 31 + image.shape[3]]

    torch.manual_seed(0)
    return Net()


@pytest.mark.slow
def test_outputs_are_those_of_pytorch(same_outputs: Any) -> None:
    same_outputs(zoo.build("fcn8s", input_shape=(3, 18, 33), classes=5, hidden=32), module(5, 32))


@pytest.mark.slow
def test_compiles(tmp_path: Any) -> None:
    """Its scores begin at zero, so they are drawn here, as if trained."""
    from cnnir.backends import onnx as onnx_backend
    from cnnir.compiler import compile_source
    from cnnir.frontends.source import load
    from cnnir.ir import ArrayData

    source = load("fcn8s", input_shape=(3, 17, 20), options={"classes": 5, "hidden": 32})
    rng = np.random.default_rng(6)
    for value in source.graph.parameters():
        if value.name.startswith("score"):
            value.data = ArrayData(rng.standard_normal(value.type.shape).astype(np.float32) / 16)
    source.graph.verify()
    image = {"input": rng.standard_normal((1, 3, 17, 20)).astype(np.float32)}
    expected = reference.run(source.graph, image)["logits"]
    got = onnx_backend.run(source.graph, image)["logits"]
    assert np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()) <= 1e-5
    deviation = compile_source(source, tmp_path / "net.cnnmod").deviation
    assert deviation is not None
    assert deviation.passed
