"""A worker whose engine does what its argument says: `python fake_engine.py BEHAVIOUR`.

`sleep=MS`, `sleep=MS,factor=F` (outputs times F), or a way to fail: `crash`, `exit`, `garbage`, `silent`, `raise`,
`sentence`, `wide` (another input shape), `extra` (another number of outputs).
"""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from cnnir.bench.engine import LoadRequest, TensorSpec
from cnnir.bench.worker import main
from cnnir.errors import CnnirError

BEHAVIOUR = dict(part.partition("=")[::2] for part in sys.argv[1].split(","))


class Fake:
    version, precision = "1.2", "fp32"

    def __init__(self, request: LoadRequest) -> None:
        if "sentence" in BEHAVIOUR:
            raise CnnirError("The file is 'broken'.", at="net.onnx", hints=["Mend it."])
        self.inputs = [TensorSpec("x", (-1, 3, 8 if "wide" in BEHAVIOUR else 4, 4), "float32")]
        self.x = np.zeros(0)

    def prepare(self, arrays: list[np.ndarray]) -> None:
        print("a library that prints on standard output")  # noqa: T201
        os.write(1, b"and one that writes to the descriptor\n")
        (self.x,) = arrays
        assert self.x.ctypes.data % 64 == 0

    def run(self) -> None:
        if "crash" in BEHAVIOUR:
            os.write(2, b"out of luck\n")
            os.abort()
        if "exit" in BEHAVIOUR:
            os._exit(3)
        if "raise" in BEHAVIOUR:
            raise ZeroDivisionError("one\nover none")
        if "silent" in BEHAVIOUR:
            time.sleep(60)
        time.sleep(float(BEHAVIOUR.get("sleep", 0)) / 1000)

    def outputs(self) -> dict[str, np.ndarray]:
        y = {"y": self.x.sum(axis=(2, 3)) * float(BEHAVIOUR.get("factor", 1))}
        return y | {"z": self.x} if "extra" in BEHAVIOUR else y


if __name__ == "__main__":
    if "garbage" in BEHAVIOUR:
        print("Welcome!", flush=True)  # noqa: T201
    main(Fake)
