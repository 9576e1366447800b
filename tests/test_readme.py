"""The README's tables come from the committed results, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_tables_are_those_of_the_results() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        assert importlib.util.find_spec("benchmarks.tables")
        from benchmarks.tables import rendered
    finally:
        sys.path.remove(str(ROOT))
    page = (ROOT / "README.md").read_text()
    assert "<!-- latency -->" in page
    assert rendered(page) == page, "run `python -m benchmarks.tables`"


def test_links_exist() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to '{target}'"
