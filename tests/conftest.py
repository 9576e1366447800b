"""Fixtures that every test may use: the shared models, and PyTorch's model zoos as independent references."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_LIBRARIES: list[Any] = []  # a registration lasts as long as the object


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of models and photographs beside the checkout; the test is skipped where there is none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared models and photographs (../shared/data) are not beside this checkout")
    return folder


def _import(name: str) -> ModuleType:
    torch = pytest.importorskip("torch")
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    # torchvision describes the shapes of two operators that its compiled part, which is missing here, would define.
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        with contextlib.suppress(RuntimeError):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """torchvision, with which models can be made even where its compiled operators do not load."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (extra 'torch')")
    return _import("torchvision")


@pytest.fixture(scope="session")
def timm(torchvision: ModuleType) -> ModuleType:
    """timm, which needs torchvision."""
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed (extra 'torch')")
    return _import("timm")
