"""Where commands write: colours only for a person who wants them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

import click


def echo(text: str, *, err: bool = False) -> None:
    """Print; click takes the colours out where the output is no terminal."""
    click.echo(text, err=err, color=None if _colours() else False)


def _colours() -> bool:
    context = click.get_current_context(silent=True)
    told_not_to = getattr(context.obj if context else None, "no_color", False)
    return not (told_not_to or os.environ.get("NO_COLOR"))


def width() -> int | None:
    """The terminal's width in cells; None for a pipe or a file, which get everything."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def to_json(value: Any) -> str:
    """One line of JSON, ASCII only, so that nothing in it can steer a terminal."""
    return json.dumps(value, default=str)


def plural(count: int, thing: str = "dead letter") -> str:
    """The count and its thing: ``1 dead letter``, ``1,200 dead letters``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
