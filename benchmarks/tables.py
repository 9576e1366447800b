"""The tables that README.md shows, made from the committed results; a test compares them with the page.

python -m benchmarks.tables   # rewrites the tables between their markers
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER

README = FOLDER.parents[1] / "README.md"


def _results(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def latency() -> str:
    """Ours beside every peer, from one interleaved run a network."""
    record = _results("latency")
    peers = [f"{p['name']} {p['version']} {p['precision']}" for p in record["results"][0]["against"]]
    lines = [
        f"| network | cnnir | {' | '.join(peers)} | cnnir / {peers[0].split()[0]} (95% interval) |",
        "|---|" + "--:|" * (len(peers) + 2),
    ]
    for row in record["results"]:
        times = " | ".join(f"{p['median_ms']:.1f} ms" for p in row["against"])
        first = row["against"][0]
        low, high = first["ratio_interval"]
        lines.append(
            f"| {row['model']} | {row['median_ms']:.1f} ms | {times} | "
            f"**{first['ratio_median']:.2f}** ({low:.2f} to {high:.2f}) |"
        )
    machine, row = record["machine"], record["results"][0]
    lines += [
        "",
        f"Median latency at batch {row['batch']}, {row['threads']} threads, float32, on {machine['cpu']} "
        f"({row['target']}), {record['date']}: `{record['command']}`.",
    ]
    return "\n".join(lines)


def accuracy() -> str:
    """Trained models through the whole road."""
    record = _results("accuracy")
    lines = ["| model | target | images | top-1 | top-5 | stated |", "|---|---|--:|--:|--:|--:|"]
    for row in record["results"]:
        stated = " / ".join(f"{v:.2f}" for v in row["stated"] if v is not None)
        lines.append(
            f"| {row['model']} | {row['target']} | {row['n']:,} "
            f"| {row['top1']:.2f} | {row['top5']:.2f} | {stated} |"
        )
    lines += ["", f"In percent, {record['date']}: `{record['command']}`."]
    return "\n".join(lines)


TABLES = {"latency": latency, "accuracy": accuracy}


def rendered(page: str) -> str:
    """`page` with every table between its markers made anew."""
    for name, table in TABLES.items():
        marker = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page = marker.sub(lambda found, table=table: f"{found[1]}{table()}\n{found[2]}", page)  # type: ignore[misc]
    return page


def main(path: Path = README) -> None:
    path.write_text(rendered(path.read_text()))


if __name__ == "__main__":
    main()
