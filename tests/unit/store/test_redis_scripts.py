"""The Lua in files: all of it is used, and each operation has what it needs in front of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import celeriac.store.redis as package
from celeriac.store.redis.scripts import LIBRARIES, ROOMS, SCRIPTS, compose, sources

FOLDER = Path(package.__file__).parent
CODE = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
DEFINED = re.compile(r"^local function (\w+)", re.MULTILINE)


def test_every_file_is_read() -> None:
    known = {f"{name}.lua" for name in ROOMS} | {f"lib/{name}.lua" for name in LIBRARIES}
    assert {str(path.relative_to(FOLDER / "lua")) for path in FOLDER.glob("lua/**/*.lua")} == known


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_operation_is_used(name: str) -> None:
    assert f'"{name}"' in CODE


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_function_of_a_library_is_used(name: str) -> None:
    everything = "\n".join(sources().values())
    unused = [
        function
        for function in DEFINED.findall(sources()[f"lib/{name}"])
        if len(re.findall(rf"\b{function}\b", everything)) == 1
    ]
    assert unused == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_an_operation_calls_is_in_front_of_it(name: str) -> None:
    text = SCRIPTS[name].text.decode()
    shared = {function for library in LIBRARIES for function in DEFINED.findall(sources()[f"lib/{library}"])}
    defined = DEFINED.findall(text)
    assert len(defined) == len(set(defined))
    missing = [
        function for function in shared if re.search(rf"(?<![\w.'])({function})\(", text) and function not in defined
    ]
    assert missing == []


def test_a_library_comes_once_and_behind_what_it_needs() -> None:
    texts = {
        **dict.fromkeys(ROOMS, ""),
        **{f"lib/{name}": "" for name in LIBRARIES},
        "queue": "-- name: do\n-- needs: rows keys\nreturn 1\n",
        "lib/rows": "-- needs: base\nlocal rows = 1\n",
        "lib/keys": "-- needs: rows base\nlocal keys = 1\n",
        "lib/base": "local base = 1\n",
    }
    text = compose(texts)["queue.do"].text.decode()
    assert re.findall(r"local (\w+)", text) == ["base", "rows", "keys"]
