"""The Lua in files: one operation after another, each with the libraries that it needs in front of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

#: The files of operations, and of what they share.
ROOMS = (
    "schema",
    "queue",
    "pauses",
    "leases",
    "outbox",
    "settling",
    "ledger",
    "pruning",
    "keys",
    "chords",
    "letters",
    "failures",
    "fanout",
    "circuits",
    "workflows",
    "checkpoints",
    "chains",
)
LIBRARIES = (
    "clock",
    "base",
    "lanes",
    "rows",
    "pauses",
    "due",
    "keys",
    "records",
    "history",
    "joins",
    "workflows",
    "chains",
    "sending",
    "failures",
    "acts",
    "checkpoints",
)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_NEEDS = re.compile(r"^-- needs: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One operation, as the server knows it."""

    text: bytes
    sha: bytes


def sources() -> dict[str, str]:
    """Every file by its name: ``queue``, ``lib/rows``."""
    names = [*ROOMS, *(f"lib/{name}" for name in LIBRARIES)]
    folder = files(__package__).joinpath("lua")
    return {name: folder.joinpath(*f"{name}.lua".split("/")).read_text(encoding="utf-8") for name in names}


def compose(texts: Mapping[str, str]) -> dict[str, Script]:
    """The operations by room and name, ``queue.publish``, from the files' texts."""
    return {
        f"{room}.{name}": _script(texts, text)
        for room in ROOMS
        for name, text in zip(_NAME.split(texts[room])[1::2], _NAME.split(texts[room])[2::2], strict=True)
    }


def _script(texts: Mapping[str, str], operation: str) -> Script:
    needed: dict[str, str] = {}
    _gather(texts, operation, needed)
    whole = "\n".join([*needed.values(), operation.strip()]).encode()
    return Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest().encode())


def _gather(texts: Mapping[str, str], text: str, into: dict[str, str]) -> None:
    """Add the libraries that the text needs, each behind those that it needs itself."""
    for line in _NEEDS.findall(text):
        for name in line.split():
            if name not in into:
                library = texts[f"lib/{name}"]
                _gather(texts, library, into)
                into[name] = library


SCRIPTS = compose(sources())
