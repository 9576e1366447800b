"""The table of operators in the documentation is the one that the backends' own tables give."""

from pathlib import Path

from cnnir.backends.coverage import coverage, markdown

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_todays_table() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    assert page[page.index("| operator") :] == markdown()


def test_every_operator_runs_on_every_backend() -> None:
    assert [row.operator for row in coverage() if not (row.x86 and row.onnx)] == []
