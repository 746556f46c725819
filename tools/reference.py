"""Writes the reference pages from the code: ``python -m tools.reference``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from celeriac import errors
from celeriac.cli.circuits import circuits
from celeriac.cli.dead import dead
from celeriac.cli.effects import effects
from celeriac.cli.failures import failures
from celeriac.cli.outbox import outbox
from celeriac.cli.plan import plan
from celeriac.cli.progress import progress
from celeriac.cli.workflow import workflow
from celeriac.execution.circuits import CircuitOpen
from celeriac.publish.arguments import UnsendableArgument
from celeriac.publish.routes import UndeclaredQueue
from celeriac.results.blocked import LeftBehind, WorkflowBlocked, WorkflowFailed
from celeriac.settings import PRECEDENCE, defaults_reference
from celeriac.settings.names import MisspeltNameWarning
from celeriac.settings.reference import Row
from celeriac.settings.sources import Source
from celeriac.transport.unavailable import BrokerUnavailable
from celeriac.workflow.room import UnknownWorkflow, WorkflowCancelled

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- Made by `python -m tools.reference`; change the code instead. -->"
DAY = 86_400
#: Columns of the commands' help; the site's pages show no more at once.
WIDTH = 88
#: Errors that cannot be defined in `celeriac.errors`, and where to import them from.
ELSEWHERE: dict[type, str] = {
    BrokerUnavailable: "celeriac",
    CircuitOpen: "celeriac",
    UnsendableArgument: "celeriac.publish.arguments",
    UndeclaredQueue: "celeriac.publish.routes",
    UnknownWorkflow: "celeriac.workflow.room",
    WorkflowCancelled: "celeriac.workflow.room",
    LeftBehind: "celeriac.results.blocked",
    WorkflowBlocked: "celeriac",
    WorkflowFailed: "celeriac",
    MisspeltNameWarning: "celeriac.settings.names",
}
NOTES: dict[type, str] = {
    errors.OptionError: (
        "Celery makes its tasks late: a worker as it starts, any other process when it first uses the task or the app's "
        "list of tasks. That, and not `@app.task` itself, is where this is raised."
    ),
}
HEADINGS = {
    "safe": 'Set under `defaults="safe"`, the default',
    "both policies": "Set under both policies",
    "own": "celeriac's own settings",
    "sqlite URL": "Options in a SQLite URL",
    "redis+streams URL": "Options in a Redis URL",
}


def pages() -> dict[str, str]:
    """File name to text."""
    return {"settings.md": settings_page(), "cli.md": cli_page(), "errors.md": errors_page()}


def settings_page() -> str:
    """Every default with its reason, and who wins over whom."""
    lines = ["# Settings", "", MADE, "", "## Who wins", "", "The first that says something wins.", ""]
    lines += [f"{place}. {_source(source)}" for place, source in enumerate(PRECEDENCE, 1)]
    order = list(HEADINGS)
    rows_in_order = sorted(defaults_reference(), key=lambda row: order.index(row.group))
    for group, rows in groupby(rows_in_order, key=lambda row: row.group):
        lines += ["", f"## {HEADINGS[group]}", "", *_table(group, list(rows))]
    return "\n".join(lines) + "\n"


def _source(source: Source) -> str:
    example = f" `{source.example}`" if source.example else ""
    return f"**{source.name}**{example}: {source.remark}"


def _table(group: str, rows: list[Row]) -> Iterator[str]:
    """Three columns: more do not fit beside names of this length."""
    if group == "own" or group.endswith("URL"):
        yield from ("| setting | default | why |", "|---|---|---|")
        for row in rows:
            yield f"| `{row.setting}` | {_default(row)} | {row.reason} |"
    else:
        yield from ("| setting | value, instead of Celery's | why |", "|---|---|---|")
        for row in rows:
            only = "" if row.when == "always" else f" (Only: {row.when}.)"
            yield f"| `{row.setting}` | `{row.value}`, not `{row.instead_of}` | {row.reason}{only} |"


def _default(row: Row) -> str:
    """The default with its unit."""
    try:
        number = float(row.value)
    except ValueError:
        return row.value
    days = number / DAY
    told = f" ({days:g} day{'' if days == 1 else 's'})" if row.when == "seconds" and days >= 1 else ""
    return f"{number:.12g} {row.when}{told}"


def cli_page() -> str:
    """What the commands say of themselves."""
    parts = ["# Commands", "", MADE, "", "Reached through Celery's own command: `celery -A shop dead …`.", ""]
    for group in (circuits, dead, failures, effects, outbox, plan, progress, workflow):
        parts += _commands(group)
    return "\n".join(parts)


def _commands(group: click.Command) -> Iterator[str]:
    name = group.name or "?"
    context = _context(group, f"celery -A shop {name}")
    yield from (f"## {name}", "", "```text", group.get_help(context), "```", "")
    if not isinstance(group, click.Group):
        return
    for inner_name in group.list_commands(context):
        command = group.get_command(context, inner_name)
        assert command is not None
        inner = _context(command, inner_name, context)
        yield from (f"## {name} {inner_name}", "", "```text", command.get_help(inner), "```", "")


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH)


def errors_page() -> str:
    """Every exception, from its docstring."""
    lines = [
        "# Errors",
        "",
        MADE,
        "",
        "All under `celeriac.errors`, but for the last ones, which name their module.",
        "",
    ]
    defined = [cls for cls in vars(errors).values() if inspect.isclass(cls) and cls.__module__ == errors.__name__]
    for cls in (*defined, *ELSEWHERE):
        lines += [f"## {cls.__name__}", ""]
        if cls in ELSEWHERE:
            lines += [f"`from {ELSEWHERE[cls]} import {cls.__name__}`", ""]
        bases = " and ".join(f"`{base.__name__}`" for base in cls.__bases__)
        lines += [f"Also caught as {bases}.", "", inspect.getdoc(cls) or "", ""]
        if cls in NOTES:
            lines += [NOTES[cls], ""]
    return "\n".join(lines)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file_name, text in pages().items():
        (FOLDER / file_name).write_text(text, encoding="utf-8")
