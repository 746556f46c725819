"""Pages that cannot drift from the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import figures, reference

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
#: What is shown as it is, where `load[3](2026)` is no link.
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", sorted(reference.pages()))
def test_a_made_page_is_what_the_code_says(name: str) -> None:
    made = reference.pages()[name]
    kept = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert kept == made, "run `python -m tools.reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_guarantees_name_tests_that_exist() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_ten_lines_of_the_readme_run(tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    (tmp_path / "shop.py").write_text(code.group(1), encoding="utf-8")
    publish = "from shop import charge_payment as c; a, b = c.delay(7), c.delay(order_id=7); print(a.id == b.id)"
    done = subprocess.run([sys.executable, "-c", publish], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("page", figures.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_figures_are_those_of_the_kept_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == figures.filled(text), "run `python -m tools.figures`"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    named = set(re.findall(r'= "([^"]+\.md)"', navigation))
    assert named == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
