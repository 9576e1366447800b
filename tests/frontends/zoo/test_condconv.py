"""CondConv-EfficientNet against timm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnnir.backends import reference
from cnnir.frontends import zoo
from cnnir.ir import ArrayData

# Of timm's models of these names; its table of results rounds them to 13.31, 24.01 and 39.72 million.
PARAMETERS = {
    "tf_efficientnet_cc_b0_4e": 13_314_116,
    "tf_efficientnet_cc_b0_8e": 24_013_284,
    "tf_efficientnet_cc_b1_8e": 39_715_968,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str, learnable: Any) -> None:
    assert learnable(zoo.build(name)) == PARAMETERS[name]


def weights_of(module: Any, experts: int) -> dict[str, np.ndarray]:
    """The state of timm's module, with the rows of its expert kernels laid out as ours."""
    state = {}
    parts = dict(module.named_modules())
    for name, tensor in module.state_dict().items():
        path, _, leaf = name.rpartition(".")
        array = tensor.float().numpy()
        if leaf == "weight" and type(parts[path]).__name__ == "CondConv2d":
            kernels = array.reshape(experts, *parts[path].weight_shape)
            if parts[path].groups > 1:
                state |= {f"{path}.{k}.weight": kernel for k, kernel in enumerate(kernels)}
                continue
            filters, channels, *size = parts[path].weight_shape
            array = kernels.swapaxes(0, 1).reshape(filters, experts * channels, *size)
        if leaf != "num_batches_tracked":
            state[name] = array
    return state


def test_outputs_are_those_of_timm(timm: Any, randomised: Any) -> None:
    import torch

    module = randomised(timm.create_model("tf_efficientnet_cc_b0_4e", num_classes=10).float())
    module.load_state_dict({k: v.float() for k, v in module.state_dict().items()})
    graph = zoo.build("tf_efficientnet_cc_b0_4e", input_shape=(3, 64, 64), classes=10)
    state = weights_of(module, 4)
    assert set(state) == {v.name for v in graph.constants()}
    for value in graph.constants():
        value.data = ArrayData(np.ascontiguousarray(state[value.name]))
    # Different images, so that each needs a mixture of its own.
    image = np.random.default_rng(2).standard_normal((3, 3, 64, 64)).astype(np.float32)
    image[1] *= 3
    image[2] += 1
    with torch.no_grad():
        expected = module(torch.from_numpy(image).double()).numpy()
    got = reference.run(graph, {"input": image})["logits"]
    assert expected.std() > 1e-3
    assert np.abs(got - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.slow
def test_deploys(deploys: Any) -> None:
    deploys("tf_efficientnet_cc_b0_4e", 32, classes=10)
