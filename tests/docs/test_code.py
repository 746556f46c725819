"""The code of the pages runs, and the commands they show exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import Worker

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted([DOCS / "index.md", DOCS / "tutorial.md", *DOCS.glob("how-to/*.md")])
BLOCK = re.compile(r"```python(?: title=\"(?P<file>[^\"]+)\")?\n(?P<code>.*?)```", re.DOTALL)
COMMAND = re.compile(r"```console\n(.*?)```", re.DOTALL)


def _name(page: Path) -> str:
    return str(page.relative_to(DOCS))


def _write(page: Path, folder: Path) -> list[str]:
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


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in page.read_text("utf-8")], ids=_name)
def test_the_code_of_a_page_imports_and_its_app_is_whole(page: Path, tmp_path: Path) -> None:
    modules = _write(page, tmp_path)
    program = (
        "import importlib, sys, celeriac\n"
        "sys.path.insert(0, '.')\n"
        f"found = [importlib.import_module(name) for name in {modules!r}]\n"
        "apps = {id(v): v for m in found for v in vars(m).values() if isinstance(v, celeriac.Celery)}\n"
        "assert apps\n"
        "for app in apps.values():\n"
        "    app.finalize()\n"
        "    app.store.sizes()\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _commands(page: Path) -> list[list[str]]:
    lines = "\n".join(COMMAND.findall(page.read_text(encoding="utf-8"))).splitlines()
    return [shlex.split(line) for line in lines if line.startswith("celery ")]


SHOWN = sorted({tuple(command[3:]) for page in PAGES for command in _commands(page)})


def test_commands_are_shown() -> None:
    assert len(SHOWN) > 5


@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
def test_a_command_that_is_shown_exists_with_these_options(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(BLOCK.search((DOCS / "tutorial.md").read_text("utf-8"))["code"])  # type: ignore[index]
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "shop", *command, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# A program of its own: other tests import another shop.
CLIENT = """
from celeriac.errors import IdempotencyConflict
from shop import add, charge, ship

assert add.delay(2, 3).get(timeout=30) == 5
try:
    ship.delay(7, "FR").get(timeout=30)
except ValueError as error:
    print(error)
first, second = charge.delay(7, 4200), charge.delay(7, 4200)
assert first.id == second.id
try:
    charge.delay(7, 9900)
except IdempotencyConflict as error:
    print(error)
"""


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """All but the kill, which `tests/integration/faults` does in every way there is."""
    _write(DOCS / "tutorial.md", tmp_path)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with Worker("shop", tmp_path, pool="solo"):
        told = run("-c", CLIENT)
    assert "we do not ship to FR" in told
    assert "with other arguments" in told
    listed = run("-m", "celery", "-A", "shop", "dead", "list")
    assert re.search(r"shop\.ship +celery +permanent +1 +ValueError: we do not ship to FR", listed)


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    _write(DOCS / "how-to" / "testing.md", tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
