"""The code blocks of the pages, as files and as commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted([DOCS / "index.md", DOCS / "tutorial.md", *DOCS.glob("how-to/*.md")])
BLOCK = re.compile(r"```python(?: title=\"(?P<file>[^\"]+)\")?\n(?P<code>.*?)```", re.DOTALL)
_COMMAND = re.compile(r"```console\n(.*?)```", re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


def write(page: Path, folder: Path) -> list[str]:
    """The page's code as files, and the modules that they are; blocks without a name follow each other in one."""
    modules = []
    loose = ""
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        code = block["code"].replace("sqlite:////srv/shop/", f"sqlite:///{folder}/")
        if block["file"] is None:
            loose += code
            continue
        path = folder / block["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        modules.append(".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"))
    if loose:
        (folder / "loose.py").write_text(loose, encoding="utf-8")
        modules.append("loose")
    return modules


def commands(page: Path, program: str) -> list[list[str]]:
    """What the page has typed for this program, as its arguments."""
    lines = "\n".join(_COMMAND.findall(page.read_text(encoding="utf-8"))).splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]
