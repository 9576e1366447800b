"""Every built-in network at its full size: verified, exported, compiled, compared, and timed beside ONNX Runtime.

python -m benchmarks.zoo [--models a,b] [--threads 2] [--rounds 6] [-o benchmarks/results/zoo.json]

For each network: the relative RMS error of ONNX Runtime and of the x86 code against the float64 reference on one
seeded image, and both latencies from one interleaved run. A model that is in the output file already is not run
again (`--again` runs it), so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.results import FOLDER, save
from cnnir import runtime
from cnnir.analysis.cost import graph_cost
from cnnir.backends import onnx as onnx_backend
from cnnir.backends import reference
from cnnir.bench import Plan, bench, parse_peers
from cnnir.cache import Cache
from cnnir.compiler import Options, compile_source, seeded_inputs
from cnnir.frontends import zoo
from cnnir.frontends.source import load
from cnnir.ir.equality import difference
from cnnir.ir.text import load_graph, save_graph
from cnnir.validate.numeric import compare


def measure(name: str, plan: Plan, target: str) -> dict[str, object]:
    """One row of the table; raises where a step fails."""
    source = load(name)
    graph = source.graph
    graph.verify()
    feeds = seeded_inputs(graph, 1)
    expected = reference.run(graph, feeds)
    with tempfile.TemporaryDirectory(prefix="cnnir-zoo-") as folder:
        text = Path(folder, f"{name}.cnnir")
        save_graph(graph, text)
        if (found := difference(load_graph(text), graph)) is not None:
            raise AssertionError(f"the text form of '{name}' does not round-trip: {found}")
        model = Path(folder, f"{name}.onnx")
        onnx_backend.save(graph.clone(batch=1), model)
        theirs = compare(onnx_backend.run_model(model.read_bytes(), feeds), expected)
        artifact = Path(folder, f"{name}.cnnmod")
        compiled = compile_source(source, artifact, Options(target), cache=Cache())
        ours = compare(runtime.load(artifact)(**feeds), expected)
        result = bench(artifact, against=parse_peers("onnxruntime"), onnx=model, plan=plan)
    (peer,) = result.against
    cost = graph_cost(graph).total
    return {
        "model": name,
        "target": compiled.manifest.target,
        "params": cost.params,
        "macs": cost.macs,
        "compile_seconds": compiled.seconds,
        "error": ours.relative_rms,
        "error_onnxruntime": theirs.relative_rms,
        "median_ms": result.summary.median,
        "onnxruntime_ms": peer.summary.median,
        "ratio_median": peer.ratio.median,
        "ratio_interval": list(peer.ratio.interval),
        "verdict": str(peer.ratio.verdict),
        "threads": result.threads,
        "rounds": result.rounds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", default=",".join(zoo.names()))
    parser.add_argument("--target", default="x86")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--calls", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--again", action="store_true", help="measure models that the output file has already")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER / "zoo.json")
    arguments = parser.parse_args()
    plan = Plan(
        rounds=arguments.rounds, calls=arguments.calls, seconds=arguments.seconds, threads=arguments.threads
    )
    rows: dict[str, dict[str, object]] = {}
    if arguments.output.exists():
        rows = {row["model"]: row for row in json.loads(arguments.output.read_text())["results"]}
    for name in arguments.models.split(","):
        if name in rows and "failed" not in rows[name] and not arguments.again:
            continue
        try:
            row = measure(name, plan, arguments.target)
        except Exception as error:  # one model must not end the run; the row says what happened
            row = {"model": name, "failed": f"{type(error).__name__}: {error}"}
        rows[name] = row
        save(arguments.output, "benchmarks.zoo", list(rows.values()))
        if "failed" in row:
            print(f"{name:28} FAILED {row['failed']}", flush=True)
        else:
            print(
                f"{name:28} {row['median_ms']:9.2f} ms   onnxruntime {row['onnxruntime_ms']:9.2f} ms   "
                f"ratio {row['ratio_median']:.3f}   "
                f"error {row['error']:.1e} (theirs {row['error_onnxruntime']:.1e})",
                flush=True,
            )
    ratios = [float(str(row["ratio_median"])) for row in rows.values() if "failed" not in row]
    if ratios:
        mean = np.exp(np.mean(np.log(ratios)))
        print(f"geometric mean of {len(ratios)} ratios: {mean:.3f}, worst {max(ratios):.3f}")


if __name__ == "__main__":
    main()
