"""Accuracy of trained models through the whole road: ONNX file, passes, code, photographs.

python -m benchmarks.accuracy --data ../shared/data [-o benchmarks/results/accuracy.json]

Each model of the folder is compiled for x86 and for ONNX Runtime and judged on its labelled images.
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import FOLDER, save
from cnnir import runtime
from cnnir.cache import Cache
from cnnir.compiler import Options, compile_source
from cnnir.data import open_dataset
from cnnir.frontends.source import load
from cnnir.preprocess import Preprocess, preset
from cnnir.validate import evaluate

PHOTOGRAPHS, CIFAR = "nips2017_dev_1000.npz", "cifar10_test.npz"
SQUEEZENET = Preprocess.from_dict({"channels": "BGR", "mean": [104, 117, 123]}, size=(227, 227))


@dataclass(frozen=True)
class Case:
    """A trained model, its images, its preprocessing, and the accuracy that its file has in ONNX Runtime."""

    file: str
    data: str
    preprocess: Preprocess
    stated: tuple[float, float | None]
    class_offset: int = 0


CASES = (
    Case("resnet50_keras_f16w.onnx.xz", PHOTOGRAPHS, preset("caffe", (224, 224)), (91.60, 98.10)),
    Case("mobilenet_v1.onnx", PHOTOGRAPHS, preset("tf", (224, 224)), (74.10, 92.30), 1),
    Case("efficientnet_lite0.onnx", PHOTOGRAPHS, preset("lite", (224, 224)), (88.70, 98.40)),
    Case("squeezenet1_0_dc.onnx", PHOTOGRAPHS, SQUEEZENET, (51.90, 77.00)),
    Case("resnet20_cifar10.onnx", CIFAR, preset("torch", (32, 32)), (91.73, None)),
    Case("resnet8_mlperftiny_cifar10.onnx", CIFAR, preset("raw", (32, 32)), (87.19, None)),
    Case("resnet8_mlperftiny_int8_qdq.onnx", CIFAR, preset("raw", (32, 32)), (87.02, None)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder with models and images")
    parser.add_argument("--targets", default="x86,onnx")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "accuracy.json")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    for case in CASES:
        for target in arguments.targets.split(","):
            with tempfile.TemporaryDirectory(prefix="cnnir-accuracy-") as folder:
                model = arguments.data / case.file
                if model.suffix == ".xz":
                    packed, model = model, Path(folder, model.stem)
                    model.write_bytes(lzma.decompress(packed.read_bytes()))
                options = Options(target, preprocess=case.preprocess, class_offset=case.class_offset)
                artifact = Path(folder, "model.cnnmod")
                compiled = compile_source(load(str(model)), artifact, options, cache=Cache())
                module = runtime.load(artifact)
                output = module.outputs[0].name
                accuracy = evaluate(
                    lambda images, module=module, output=output: module(images)[output],
                    open_dataset(arguments.data / case.data),
                    case.preprocess,
                    class_offset=case.class_offset,
                )
            row = {
                "model": compiled.manifest.model,
                "data": case.data,
                "target": compiled.manifest.target,
                "stated": list(case.stated),
                **accuracy.as_dict(),
            }
            rows.append(row)
            save(arguments.output, "benchmarks.accuracy", rows)
            print(
                f"{row['model']:36} {row['target']:12} top-1 {accuracy.top1:.2f} (stated {case.stated[0]:.2f})  "
                f"top-5 {accuracy.top5:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
