"""Writes the reference pages from the code: ``python -m tools.reference``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from celeriac import errors
from celeriac.cli.dead import dead
from celeriac.settings import PRECEDENCE, defaults_reference
from celeriac.settings.reference import Row

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- Made by `python -m tools.reference`; change the code instead. -->"
HEADINGS = {
    "both policies": "Set under both policies",
    "safe": 'Set under `defaults="safe"`, the default',
    "own": "celeriac's own settings",
    "sqlite URL": "Options in a SQLite URL",
}


def pages() -> dict[str, str]:
    """File name to text."""
    return {"settings.md": settings_page(), "cli.md": cli_page(), "errors.md": errors_page()}


def settings_page() -> str:
    """Every default with its reason, and who wins over whom."""
    lines = ["# Settings", "", MADE, "", "## Who wins", "", "The first that says something wins.", ""]
    lines += [
        f"{place}. **{source.name}** `{source.example}`: {source.remark}" for place, source in enumerate(PRECEDENCE, 1)
    ]
    for group, rows in groupby(
        defaults_reference(), key=lambda row: row.group if row.group in HEADINGS else "sqlite URL"
    ):
        lines += ["", f"## {HEADINGS[group]}", "", *_table(group, list(rows))]
    return "\n".join(lines) + "\n"


def _table(group: str, rows: list[Row]) -> Iterator[str]:
    if group in ("own", "sqlite URL"):
        yield from ("| setting | default | unit or broker | why |", "|---|---|---|---|")
        for row in rows:
            yield f"| `{row.setting}` | {row.value} | {row.when} | {row.reason} |"
        return
    yield from ("| setting | value | instead of Celery's | where | why |", "|---|---|---|---|---|")
    for row in rows:
        yield f"| `{row.setting}` | `{row.value}` | `{row.instead_of}` | {row.when} | {row.reason} |"


def cli_page() -> str:
    """What the commands say of themselves."""
    parts = ["# Commands", "", MADE, "", "Reached through Celery's own command: `celery -A shop dead …`.", ""]
    context = click.Context(dead, info_name="celery -A shop dead", terminal_width=100, max_content_width=100)
    parts += ["## dead", "", "```text", dead.get_help(context), "```", ""]
    for name in dead.list_commands(context):
        command = dead.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        parts += [f"## dead {name}", "", "```text", command.get_help(inner), "```", ""]
    return "\n".join(parts)


def errors_page() -> str:
    """Every exception, from its docstring."""
    lines = ["# Errors", "", MADE, "", "All under `celeriac.errors`.", ""]
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and cls.__module__ == errors.__name__:
            base = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
            lines += [f"## {name}", "", f"Is a {base}.", "", inspect.getdoc(cls) or "", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, text in pages().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
