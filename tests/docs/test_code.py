"""The code of the pages runs, and the commands they show exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import BLOCK, DOCS, PAGES, commands, name_of, write
from tests.support import Worker, run

#: Its modules need Django set up; test_services.py runs it.
DJANGO = DOCS / "how-to" / "django.md"
WITH_CODE = [page for page in PAGES if "```python" in page.read_text("utf-8") and page != DJANGO]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_imports_and_its_app_is_whole(page: Path, tmp_path: Path) -> None:
    modules = write(page, tmp_path)
    program = (
        "import importlib, sys, celeriac\n"
        "sys.path.insert(0, '.')\n"
        f"found = [importlib.import_module(name) for name in {modules!r}]\n"
        "apps = {id(v): v for m in found for v in vars(m).values() if isinstance(v, celeriac.Celery)}\n"
        "assert apps\n"
        "for app in apps.values():\n"
        "    app.finalize()\n"
        "    app.conf.broker_url.startswith('sqlite:') and app.store.sizes()  # no server of a page is there\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


SHOWN = sorted({tuple(command[2:]) for page in PAGES for command in commands(page, "celery")})


def test_commands_are_shown() -> None:
    assert len(SHOWN) > 5


@pytest.mark.parametrize("command", SHOWN, ids=" ".join)
def test_a_command_that_is_shown_exists_with_these_options(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(BLOCK.search((DOCS / "tutorial.md").read_text("utf-8"))["code"])  # type: ignore[index]
    code, told = run([sys.executable, "-m", "celery", "-A", "shop", *command, "--help"], tmp_path)
    assert code == 0, told


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
    write(DOCS / "tutorial.md", tmp_path)

    def printed(*arguments: str) -> str:
        code, told = run([sys.executable, *arguments], tmp_path)
        assert code == 0, told
        return told

    with Worker("shop", tmp_path, pool="solo"):
        told = printed("-c", CLIENT)
    assert "we do not ship to FR" in told
    assert "with other arguments" in told
    listed = printed("-m", "celery", "-A", "shop", "dead", "list")
    assert re.search(r"shop\.ship +celery +permanent +1 +ValueError: we do not ship to FR", listed)


def test_the_tests_of_the_testing_page_pass(tmp_path: Path) -> None:
    write(DOCS / "how-to" / "testing.md", tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_celeriac"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout
