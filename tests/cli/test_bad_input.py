"""One clear sentence on standard error, exit code 2, and no file, for every mistake of the user's."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cnnir import artifact as artifact_file
from cnnir.ir import Graph
from cnnir.ir.graph import Node
from cnnir.passes.dce import DeadCodeElimination
from tests_cli_types import Cli  # type: ignore[import-not-found]
