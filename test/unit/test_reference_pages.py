"""The reference says what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script():
    path = ROOT / "scripts/reference_pages.py"
    spec = importlib.util.spec_from_file_location("reference_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = _script()


@pytest.mark.parametrize("name", pages.PAGES)
def test_when_the_reference_is_written_anew_expect_no_change(name):
    written = (ROOT / "docs/reference" / name).read_text()
    assert written == pages.PAGES[name](), "run `python scripts/reference_pages.py`"


def test_when_nodes_are_listed_expect_a_type_for_every_name():
    begins = tuple(f"| {words} |" for words in pages.KINDS.values())
    rows = [line for line in pages.nodes_page().splitlines() if line.startswith(begins)]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []
