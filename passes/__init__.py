"""Graph -> Graph, one pass a file; importing this package registers them all."""

from cnnir.passes import (
    canonicalize,
    constant_folding,
    cse,
    dce,
    fold_affine,
    fold_batch_norm,
    fold_pad,
    fuse_epilogue,
    remove_identity,
)

__all__ = [
    "canonicalize",
    "constant_folding",
    "cse",
    "dce",
    "fold_affine",
    "fold_batch_norm",
    "fold_pad",
    "fuse_epilogue",
    "remove_identity",
]
