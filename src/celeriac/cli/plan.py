"""``celery -A app plan``: what the declarations of an app come to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from celeriac.cli.group import Command, app_of
from celeriac.cli.screen import echo, to_json, width
from celeriac.cli.text import Column, one_line, table
from celeriac.core.text import app_option
from celeriac.publish.plan import Plan, PlannedQueue, Process, plan_of


@click.command(cls=Command, short_help="Show queues, routes and limits, and which processes to start.")
@click.option("--procfile", is_flag=True, help="A Procfile instead: one line for each process.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
@click.pass_context
def plan(context: click.Context, procfile: bool, as_json: bool) -> None:
    """What the app declares: queues, which tasks go there, limits, and a suggestion of processes.

    Only declarations are read; no broker is needed. A route to a queue that is not declared is an error, as when a
    worker starts.
    """
    if procfile and as_json:
        raise click.UsageError("Choose one of --procfile and --json")
    app = app_of(context)
    app.loader.import_default_modules()
    app.check_routes()
    found, name = plan_of(app), app_option(app.main)
    if as_json:
        echo(to_json(_document(found, name)))
    elif procfile:
        echo("\n".join(f"{one.name}: {_command(one, name)}" for one in found.processes))
    else:
        echo("\n".join(_page(found, name, width())))


def _document(found: Plan, app: str) -> dict[str, Any]:
    return {
        "queues": [asdict(queue) for queue in found.queues],
        "processes": [{"name": one.name, "command": ["celery", "-A", app, *one.command]} for one in found.processes],
        "notes": found.notes,
    }


def _command(process: Process, app: str) -> str:
    return shlex.join(["celery", "-A", app, *process.command])


# -- text


def _page(found: Plan, app: str, cells: int | None) -> list[str]:
    notes = [f"Note: {one_line(note)}." for note in found.notes]
    parts = [
        _queue_table(found.queues, cells),
        _limit_table(found.queues, cells),
        _task_table(found.queues, cells),
        _process_table(found, app),
        notes,
    ]
    return "\n\n".join("\n".join(part) for part in parts if part).splitlines()


#: Columns of what a queue declares, left out where none does.
_FACTS = ("SHARE", "CONCURRENCY", "PREFETCH", "TIME LIMIT", "PRIORITY")


def _queue_table(queues: Sequence[PlannedQueue], cells: int | None) -> list[str]:
    rows = [[one_line(queue.name), str(len(queue.tasks)), *_facts(queue)] for queue in queues]
    columns = [Column("QUEUE", least=12), Column("TASKS", right=True)]
    columns += [Column(name) for name in _FACTS]
    shown = [at for at in range(len(columns)) if at < 2 or any(row[at] != "-" for row in rows)]  # noqa: PLR2004
    return table([columns[at] for at in shown], [[row[at] for at in shown] for row in rows], cells)


def _facts(queue: PlannedQueue) -> list[str]:
    share = queue.order or (f"weight {queue.weight}" if queue.weight else None)
    facts = [share, queue.concurrency, queue.prefetch, _times(queue), queue.priority]
    return ["-" if fact is None else one_line(str(fact)) for fact in facts]


def _times(queue: PlannedQueue) -> str | None:
    hard = f"{queue.time_limit:g} s" if queue.time_limit else ""
    soft = f"soft {queue.soft_time_limit:g} s" if queue.soft_time_limit else ""
    return (f"{hard} ({soft})" if hard and soft else hard or soft) or None


def _limit_table(queues: Sequence[PlannedQueue], cells: int | None) -> list[str]:
    rows = [[limit, f"queue {queue.name}"] for queue in queues for limit in queue.limits]
    rows += [[limit, f"task {task.name}"] for queue in queues for task in queue.tasks for limit in task.limits]
    shown = [[one_line(part) for part in row] for row in rows]
    return table([Column("LIMIT", least=20), Column("OF", least=12)], shown, cells) if rows else []


def _task_table(queues: Sequence[PlannedQueue], cells: int | None) -> list[str]:
    rows = [
        [one_line(part) for part in (task.name, queue.name, task.where)] for queue in queues for task in queue.tasks
    ]
    if not rows:
        return ["No task is known: name the modules that have them in `include` or `imports`."]
    columns = [Column("TASK", least=20, keep_end=True), Column("QUEUE", least=12), Column("BY", least=16)]
    return table(columns, rows, cells)


def _process_table(found: Plan, app: str) -> list[str]:
    # Commands are there to be copied, and so are never cut.
    rows = [[one.name, one_line(_command(one, app))] for one in found.processes]
    return table([Column("PROCESS"), Column("COMMAND")], rows, None)
