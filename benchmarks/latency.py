"""Latency of built-in networks beside their peers: for each network one interleaved run, a process an engine.

python -m benchmarks.latency --models resnet50d,resnet18 --against onnxruntime,openvino -o results.json

Random weights: latency does not depend on them, and the outputs of all engines are compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.results import FOLDER, save
from cnnir.backends.onnx import save as save_onnx
from cnnir.bench import Plan, bench, parse_peers
from cnnir.cache import Cache
from cnnir.compiler import Options, compile_source
from cnnir.frontends.source import load

MODELS = "resnet50d,resnet18,vgg16,googlenet,inception_v3,mobilenet_v1,squeezenet1_1,densenet121,efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--against", default="onnxruntime")
    parser.add_argument("--target", default="x86")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of a table")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "latency.json")
    arguments = parser.parse_args()
    peers = parse_peers(arguments.against)
    plan = Plan(
        rounds=arguments.rounds, seconds=arguments.seconds, threads=arguments.threads, batch=arguments.batch
    )
    rows: list[dict[str, object]] = []
    for name in arguments.models.split(","):
        with tempfile.TemporaryDirectory(prefix="cnnir-latency-") as folder:
            source = load(name)
            artifact, onnx = Path(folder, f"{name}.cnnmod"), Path(folder, f"{name}.onnx")
            options = Options(arguments.target, arguments.precision, batch=arguments.batch)
            compiled = compile_source(source, artifact, options, cache=Cache())
            save_onnx(source.graph.clone(batch=arguments.batch), onnx)
            result = bench(artifact, against=peers, onnx=onnx, plan=plan)
        validation = compiled.manifest.validation
        rows.append(
            {"model": name, "target": compiled.manifest.target, "validation": validation, **result.as_dict()}
        )
        save(arguments.output, "benchmarks.latency", rows)
        if not arguments.json:
            line = f"{name:22} {result.summary.median:8.2f} ms"
            for peer in result.against:
                low, high = peer.ratio.interval
                line += f"   {peer.name}:{peer.precision} {peer.summary.median:8.2f} ms"
                line += f" ratio {peer.ratio.median:.3f} [{low:.3f}, {high:.3f}]"
            print(line, flush=True)
    if arguments.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
