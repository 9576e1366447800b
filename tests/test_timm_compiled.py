"""The whole road with timm's weights: a checkpoint file, `--weights`, x86 code, timm's own output."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnir import runtime
from cnnir.compiler import Options, compile_source
from cnnir.frontends.source import load


@pytest.mark.parametrize("name", ["resnet50", "resnet50d"])
def test_compiled_output_is_timms(name: str, tmp_path: Path, timm: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = timm.create_model(name).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # As a trained network has them: statistics that matter.
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.uniform_(module.bias, -0.1, 0.1)
    checkpoint = tmp_path / "weights.pth"
    torch.save(model.state_dict(), checkpoint)
    artifact = tmp_path / f"{name}.cnnmod"
    compile_source(load(name, weights=checkpoint), artifact, Options())
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224), dtype=np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    actual = runtime.load(artifact)(image)["logits"]
    assert np.abs(actual - expected).max() <= 1e-4 * np.abs(expected).max()
