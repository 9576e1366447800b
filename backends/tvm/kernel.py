"""What a generated kernel is: frozen, validated parameters that render to one TVMScript function over work units.

A kernel is a private PrimFunc `name(lo, hi, pointers...)` that computes the independent work units `lo..hi-1`.
The entry function splits `0..units` over the threads; because kernels never contain a parallel region
themselves, their accumulators stay in registers or on the stack. A kernel that needs more than a stack holds says
how much `scratch` memory, and takes a pointer to its thread's part of the arena behind the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cnnir.ir import DType, Layout, TensorType


@dataclass(frozen=True, slots=True)
class ImageBuffer:
    """A 4-D activation in memory: logical sizes, channel block and halo (see `cnnir.ir.Layout`).

    All strides and offsets count elements. With `block == 1` the order is plain NCHW.
    """

    batch: int
    channels: int
    height: int
    width: int
    block: int = 1
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)

    @classmethod
    def of(cls, type: TensorType) -> ImageBuffer:
        n, c, h, w = type.shape
        return cls(n, c, h, w, type.layout.block, type.layout.halo)

    @property
    def type(self) -> TensorType:
        shape = (self.batch, self.channels, self.height, self.width)
        return TensorType(DType.F32, shape, Layout(self.block, self.halo))

    @property
    def blocks(self) -> int:
        """Channel blocks of one image."""
        return -(-self.channels // self.block)

    @property
    def rows(self) -> int:
        """Rows of a plane, halo included."""
        return self.halo[0] + self.height + self.halo[2]

    @property
    def columns(self) -> int:
        """Columns of a plane, halo included."""
        return self.halo[1] + self.width + self.halo[3]

    @property
    def row_stride(self) -> int:
        return self.columns * self.block

    @property
    def plane_stride(self) -> int:
        """Elements of one channel block."""
        return self.rows * self.row_stride

    @property
    def image_stride(self) -> int:
        """Elements of one image of the batch."""
        return self.blocks * self.plane_stride

    @property
    def size(self) -> int:
        return self.batch * self.image_stride

    @property
    def origin(self) -> int:
        """Offset of row 0, column 0 of the logical plane, behind the halo."""
        return self.halo[0] * self.row_stride + self.halo[1] * self.block


@dataclass(frozen=True, slots=True)
class Argument:
    """A pointer that the kernel takes: its name, element type, length in elements, and whether it is written."""

    name: str
    dtype: DType
    size: int
    written: bool = False


@dataclass(frozen=True)
class Kernel:
    """Base of every kernel family. Equal parameters are the same function, generated once.

    Subclasses validate themselves in `__post_init__`, name their template, and compute all that it needs in
    `context()`: Python computes, templates hold no policy.
    """

    template: ClassVar[str]

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """The pointers, in the order of the function's parameters after `lo` and `hi`."""
        raise NotImplementedError

    @property
    def units(self) -> int:
        """Independent work units; results do not depend on how they are split."""
        raise NotImplementedError

    @property
    def scratch(self) -> int:
        """Float32 elements of working memory for each thread, contents undefined when a call begins; 0 for none.

        If there are any, the function takes a pointer to them, aligned to a cache line, as its last parameter.
        """
        return 0

    @property
    def flops(self) -> int:
        """Floating point operations of all units, for profiles."""
        return 0

    def context(self) -> dict[str, Any]:
        """The variables of the template."""
        raise NotImplementedError

    def render(self, name: str) -> str:
        """TVMScript of the PrimFunc, as a method of the module class (indented by one space)."""
        template = _environment().get_template(self.template)
        return template.render(name=name, kernel=self, **self.context())


TEMPLATES = Path(__file__).parent


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
