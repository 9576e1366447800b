"""`cnnir info`: what an artifact says about itself."""

from __future__ import annotations

from collections.abc import Iterator

from cnnir.artifact import Artifact as ArtifactFile
from cnnir.artifact import Manifest, TensorSpec, TvmExecution
from cnnir.cli.console import print_json, quantity, say
from cnnir.cli.options import Artifact, Json


def info(artifact: Artifact, json: Json = False) -> None:
    """Print an artifact's manifest; the file is checked, but its code need not run on this machine."""
    manifest = ArtifactFile.open(artifact, check_cpu=False).manifest
    if json:
        print_json(manifest.to_json())
        return
    fields = dict(_fields(manifest))
    width = max(map(len, fields))
    for name, text in fields.items():
        say(f"{name:<{width}}  {text}")


def _fields(manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "model", f"{manifest.model}, batch {manifest.batch}"
    yield "target", f"{manifest.target}, {manifest.precision}"
    if manifest.cpu_features:
        yield "needs", ", ".join(manifest.cpu_features)
    yield "inputs", ", ".join(map(_spec, manifest.inputs))
    yield "outputs", ", ".join(map(_spec, manifest.outputs))
    yield "weights", manifest.weights_from
    if manifest.preprocessing is None:
        yield "preprocessing", "none stored"
    else:
        yield "preprocessing", ", ".join(f"{name} {value}" for name, value in manifest.preprocessing.items())
    if manifest.labels:
        yield "labels", f"{len(manifest.labels)}, from '{manifest.labels[0]}' to '{manifest.labels[-1]}'"
    if manifest.class_offset:
        yield "class offset", str(manifest.class_offset)
    yield "passes", ", ".join(f"{p.name}{f'{{{p.options}}}' if p.options else ''}" for p in manifest.pipeline)
    if manifest.validation is None:
        yield "validation", "not checked on the machine that compiled it"
    else:
        found, bound = manifest.validation.get("relative_rms"), manifest.validation.get("bound")
        yield "validation", f"relative RMS error {found} against the float64 reference, at most {bound} allowed"
    if isinstance(manifest.execution, TvmExecution):
        scratch = manifest.execution.scratch_bytes
        more = f", and {quantity(scratch, 'B')} for each thread" if scratch else ""
        yield "memory", f"{quantity(manifest.execution.arena_bytes, 'B')} of activations a request{more}"
    for name, member in manifest.members.items():
        yield f"member {name}", f"{quantity(member.bytes, 'B')}, sha256 {member.sha256}"
    yield "written by", f"cnnir {manifest.cnnir_version}, format {'.'.join(map(str, manifest.format_version))}"


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.dtype}{list(spec.shape)}"
