"""`cnnir info`: what an artifact says about itself."""

from __future__ import annotations

import json as json_module

from rich.json import JSON

from cnnir.artifact import Artifact as ArtifactFile
from cnnir.cli.console import out, print_json
from cnnir.cli.options import Artifact, Json


def info(artifact: Artifact, json: Json = False) -> None:
    """Print an artifact's manifest; the file is checked, but its code need not run on this machine."""
    manifest = ArtifactFile.open(artifact, check_cpu=False).manifest.to_json()
    if json:
        print_json(manifest)
        return
    plan = manifest.get("plan")
    if isinstance(plan, dict) and "calls" in plan:
        manifest = {**manifest, "plan": {**plan, "calls": f"{len(plan['calls'])} (see --json)"}}
    labels = manifest["labels"]
    if isinstance(labels, list) and len(labels) > 12:
        manifest = {**manifest, "labels": f"{len(labels)} names, from '{labels[0]}' to '{labels[-1]}'"}
    out.print(JSON(json_module.dumps(manifest)))
