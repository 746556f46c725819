"""SQL lives in files, one named statement after another; this reads them."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

#: The files that every dialect has.
ROOMS = (
    "queue",
    "limits",
    "pauses",
    "keys",
    "ledger",
    "dead_letters",
    "failures",
    "circuits",
    "workflows",
    "checkpoints",
    "chains",
)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_INCLUDED = re.compile(r"\{(\w+)\}")


@cache
def queries(dialect: str, room: str) -> dict[str, str]:
    """The statements of one file, by name; ``{chosen}`` in one stands for another of that name."""
    parts = _NAME.split(script(dialect, room))
    texts = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    parts_of_others = {name for text in texts.values() for name in _INCLUDED.findall(text)} & texts.keys()
    return {
        name: _INCLUDED.sub(lambda found: texts.get(found[1], found[0]), text)
        for name, text in texts.items()
        if name not in parts_of_others
    }


@cache
def statements(dialect: str, rooms: tuple[str, ...] = ROOMS) -> dict[str, str]:
    """The statements of all files, by room and name: ``queue.publish``."""
    return {f"{room}.{name}": text for room in rooms for name, text in queries(dialect, room).items()}


def script(dialect: str, room: str) -> str:
    """The whole text of one SQL file."""
    return files(__name__).joinpath(dialect).joinpath(f"{room}.sql").read_text(encoding="utf-8")
