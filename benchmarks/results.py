"""Result files: JSON with the machine, the date and the command that made it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from cnnir import __version__
from cnnir.bench.machine import describe
from cnnir.files import atomic_writer

FOLDER = Path(__file__).parent / "results"


def save(path: Path, module: str, rows: list[dict[str, object]]) -> None:
    """Writes a result file in one step: nothing measured so far is ever lost to an interrupted run."""
    record = {
        "cnnir": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", "-m", module, *sys.argv[1:]]),
        "machine": describe().as_dict(),
        "results": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(json.dumps(record, indent=1).encode() + b"\n")
