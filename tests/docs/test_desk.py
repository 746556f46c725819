"""What the pages on dead letters and unread failures show is what their commands print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.store.sqlite import SQLiteStore
from tests.docs.blocks import DOCS, write
from tests.support import Worker, wait_for

#: Blocks in their order.
BLOCK = re.compile(r"```(python|console|text|pycon)(?: title=\"[^\"]+\")?\n(.*?)```", re.DOTALL)
#: What is another on every machine and in every run, and what stands for it.
DIFFERENT = [
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b\d+[smh] ago"), "AGO"),
    (re.compile(r"\b[\w.-]+@[\w.-]+"), "WHO"),
    (re.compile(r"/\S*/shop\.db"), "shop.db"),
    (re.compile(r"[ ]+"), " "),
]


def same(text: str) -> str:
    for pattern, instead in DIFFERENT:
        text = pattern.sub(instead, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


#: Executes what it is given up to an empty byte, in one namespace, and says what was raised.
TYPED = """
import sys
known = {}
for code in iter(lambda: "".join(iter(lambda: sys.stdin.read(1), chr(0))), "end"):
    try:
        exec(code, known)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", end="")
    print(chr(0), end="", flush=True)
"""


class Python:
    """Somebody at the prompt of Python, in one process from the first line to the last."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", TYPED]
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def type(self, text: str) -> str:
        """Run the lines after the prompts; what they raised."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        lines = [line[4:] for line in text.splitlines() if line.startswith((">>> ", "... "))]
        self._process.stdin.write("\n".join(lines) + "\0")
        self._process.stdin.flush()
        return "".join(iter(lambda: self._process.stdout.read(1), "\0"))  # type: ignore[union-attr]

    def close(self) -> None:
        self._process.communicate("end\0", timeout=30)


def run(line: str, folder: Path) -> str:
    command = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def unfinished(folder: Path) -> int:
    """How many tasks wait or run; looked up past the results, which would be read."""
    with closing(SQLiteStore(folder / "shop.db")) as store:
        return sum(size.ready + size.claimed for size in store.sizes() if "pidbox" not in size.queue)


def play(page: Path, folder: Path) -> Iterator[tuple[str, str]]:
    """Do what the page does; what was printed, and what it says of that."""
    printed, python = "", Python(folder)
    with closing(python):
        for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "pycon":
                assert python.type(text) in text
                wait_for(lambda: unfinished(folder) == 0, 60, "the tasks do not end")
            elif kind == "console":
                printed = "".join(run(line, folder) for line in text.splitlines())
            elif kind == "text":
                yield printed, text


@pytest.mark.parametrize("name", ["dead-letters", "unread"])
def test_the_page_shows_what_its_commands_print(name: str, tmp_path: Path) -> None:
    page = DOCS / "how-to" / f"{name}.md"
    write(page, tmp_path)
    # Another page's shop may be open at the same time, and a relative path would be warned of.
    shop = tmp_path / "shop.py"
    shop.write_text(shop.read_text().replace("sqlite:///shop.db", f"sqlite:///{tmp_path}/shop.db"))
    with Worker("shop", tmp_path, pool="solo"):
        shown = list(play(page, tmp_path))
    assert len(shown) > 1
    for printed, text in shown:
        assert same(printed) == same(text)
